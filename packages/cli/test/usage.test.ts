import { WhiprayError } from "@whipray/core";
import { expect, test, vi } from "vitest";
import { checkStartFlags, type StartFlags } from "../src/commands/start-flags.ts";
import { EXIT, exitCodeOf } from "../src/exit-code.ts";
import { amountOf, hostOf, labelsOf, portOf, resourcesOf } from "../src/flag-values.ts";
import { runMain } from "../src/run-main.io.ts";

const flags = (more: Partial<StartFlags>): StartFlags => ({
  host: "127.0.0.1",
  port: 8_265,
  rayletPort: 0,
  waitSeconds: 30,
  ...more,
});
const codeOf = (action: () => unknown): string => {
  try {
    action();
  } catch (error) {
    return (error as WhiprayError).code;
  }
  return "";
};

test.each([
  [["start", "--bogus"]],
  [["start", "--head", "--port"]],
  [["start", "--head", "--port", "80a"]],
  [["start", "--head", "--port", "65536"]],
  [["status", "--address", "1.2.3"]],
  [["status", "--address", "host:0"]],
  [["status", "--address", "::1:8265"]],
  [["start", "--head", "--host", "1.2.3"]],
  [["start", "--head", "--resources", "[1]"]],
  [["start", "--head", "--resources", '{"CPU":1}']],
  [["start", "--head", "--num-cpus", "-1"]],
  [["start", "--head", "--labels", "nothing"]],
  [["start", "--address", "h:1", "--join", "x", "--tls"]],
  [["start", "--address", "10.0.0.1:1", "--join", `cluster_a:${"0".repeat(64)}`]],
  [["start", "--address", "127.0.0.1:1", "--host", "0.0.0.0", "--join", `cluster_a:${"0".repeat(64)}`]],
  [["start", "--address", "127.0.0.1:1", "--join", `cluster_a:${"0".repeat(64)}:1234`]],
  [["status", "--address", "127.0.0.1:1#pin=1234"]],
  [["status", "--address", "10.0.0.1:8265"]],
  [["status", "--address", "ws://127.0.0.1:1#pin=1234"]],
  [["start", "--head", "--host", "0.0.0.0"]],
  [["list", "dogs"]],
  [["events", "--type", "ACTOR_BORN"]],
  [["events", "--severity", "LOUD"]],
  [["events", "--limit", "10001"]],
  [["events", "--limit", "-1"]],
  [["events", "--since", "yesterday"]],
  [["logs"]],
  [["frobnicate"]],
  [[]],
])("B36: whipray %j exits 2", async (args) => {
  expect(await runMain(args, { HOME: "/nonexistent" })).toBe(EXIT.usage);
});

test("B36: a bad value that nobody typed is told with the variable that has it", async () => {
  vi.stubEnv("WHIPRAY_PORT", "80a");
  const said = vi.spyOn(process.stderr, "write").mockReturnValue(true);
  try {
    expect(await runMain(["start", "--head"], { HOME: "/nonexistent" })).toBe(EXIT.usage);
    expect(said.mock.calls[0]).toEqual([
      'error: --port must be a whole number from 0 to 65535; got "80a" (from WHIPRAY_PORT) [USAGE]\n',
    ]);
  } finally {
    said.mockRestore();
    vi.unstubAllEnvs();
  }
});

test("values of flags", () => {
  expect(portOf("--port", 0)("0")).toBe(0);
  expect(codeOf(() => portOf("--port", 1)("0"))).toBe("USAGE");
  expect(amountOf("--num-cpus")("0.5")).toBe(0.5);
  expect(hostOf("--host")("[::1]")).toBe("::1");
  expect(labelsOf("--labels")("a=1,b=x/y")).toEqual({ a: "1", b: "x/y" });
  expect(codeOf(() => labelsOf("--labels")("__proto__=1"))).toBe("USAGE");
  expect(resourcesOf("--resources")('{"license":1}')).toEqual({ license: 1 });
});

test("start: --head or --address, not both; joining needs a token; beyond loopback needs permission", () => {
  expect(codeOf(() => checkStartFlags(flags({})))).toBe("USAGE");
  expect(codeOf(() => checkStartFlags(flags({ head: true, address: "h:1" })))).toBe("USAGE");
  expect(codeOf(() => checkStartFlags(flags({ address: "h:1" })))).toBe("USAGE");
  expect(codeOf(() => checkStartFlags(flags({ head: true, host: "0.0.0.0" })))).toBe("INSECURE_BIND");
  expect(codeOf(() => checkStartFlags(flags({ head: true, host: "0.0.0.0", insecurePlaintext: true })))).toBe("");
  expect(codeOf(() => checkStartFlags(flags({ head: true, host: "0.0.0.0", tls: true })))).toBe("");
});

test("exit codes follow the error's code", () => {
  const exit = (code: string): number => exitCodeOf(new WhiprayError({ code, message: "" }));
  expect(
    ["UNAUTHENTICATED", "UNREACHABLE", "NOT_FOUND", "DEADLINE_EXCEEDED", "INVALID_NAME", "OTHER"].map(exit),
  ).toEqual([4, 5, 3, 124, 2, 1]);
});
