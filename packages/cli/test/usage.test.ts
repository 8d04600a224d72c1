import { WhiprayError } from "@whipray/core";
import { expect, test, vi } from "vitest";
import { meantNames } from "../src/command-name.ts";
import { checkStartFlags, type StartFlags } from "../src/commands/start-flags.ts";
import { EXIT, exitCodeOf } from "../src/exit-code.ts";
import { amountOf, bytesOf, hostOf, labelsOf, portOf, resourcesOf, secondsOf } from "../src/flag-values.ts";
import { JSON_LINE_LIMIT_CHARS, LineObjects } from "../src/log-session.ts";
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
  [["start", "--head", "--memory", "4 gallons"]],
  [["start", "--head", "--wait-seconds", "soon"]],
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

test("sizes in bytes: of 1024 or of 1000 by their unit, whole, and told how they are written when they are not", () => {
  const bytes = bytesOf("--memory");
  const sizes = ["8589934592", "8GiB", "8 GiB", "8G", "500MB", "500mb", "1.5G", "1kB", "1K", "0", "1.0000001K"];
  expect(sizes.map((text) => (codeOf(() => bytes(text)) === "" ? bytes(text) : "USAGE"))).toEqual([
    ...[2 ** 33, 2 ** 33, 2 ** 33, 2 ** 33, 500_000_000, 500_000_000, 1.5 * 2 ** 30, 1_000, 1_024, 0],
    "USAGE",
  ]);
  for (const text of ["", "GiB", "-1", "1e9", "4XB", "4iB", "9PiB ", "8192P", "0x10", "∞", "1.5.1G", "1,5G"])
    expect([text, codeOf(() => bytes(text))]).toEqual([text, "USAGE"]);
  expect(() => bytes("4 gallons")).toThrow(/--memory must be bytes such as .*8GiB.*; got "4 gallons"/);
});

test("times: seconds, or with a unit; to the millisecond, at most a day", () => {
  const seconds = secondsOf("--wait-seconds");
  expect(["90", "0", "500ms", "1.5m", "2h", "24h", "0.25s"].map(seconds)).toEqual([
    90, 0, 0.5, 90, 7_200, 86_400, 0.25,
  ]);
  for (const text of ["", "s", "-1", "86401", "25h", "1d", "1m30s", "1e3", "NaN"])
    expect([text, codeOf(() => seconds(text))]).toEqual([text, "USAGE"]);
});

test("a mistyped command: what begins with it, else the nearest; nothing that only looks a little like it", () => {
  const names = ["start", "stop", "status", "doctor", "logs", "events", "attach", "list"];
  const meant = ["stat", "sta", "st", "satus", "statsu", "lgos", "event", "doc", "ls", "frobnicate", "xyz", ""];
  expect(meant.map((word) => meantNames(word, names))).toEqual([
    ...[["status"], ["start", "status"], ["start", "stop", "status"], ["status"], ["status"], ["logs"], ["events"]],
    ...[["doctor"], [], [], [], []],
  ]);
});

test("--json: an error is one JSON object on stdout too, whoever found it", async () => {
  const written: string[] = [];
  const spies = [
    vi.spyOn(process.stdout, "write").mockImplementation((text) => written.push(String(text)) > 0),
    vi.spyOn(process.stderr, "write").mockReturnValue(true),
  ];
  try {
    for (const args of [["stat"], ["status", "--bogus"], ["status", "--address", "h:0"], ["list"], ["status"]])
      expect(await runMain([...args, "--json"], { HOME: "/nonexistent" })).not.toBe(EXIT.ok);
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
  const errors = written.map((text) => JSON.parse(text).error);
  expect(errors.map(({ code }) => code)).toEqual(["USAGE", "USAGE", "INVALID_ADDRESS", "USAGE", "NO_ADDRESS"]);
  for (const { message } of errors) expect(message).toMatch(/^\S.+/);
});

test("logs as JSON lines: pieces become lines, and a line without an end does not wait for it for ever", () => {
  const objects = new LineObjects();
  const push = (text: string) => objects.push(new TextEncoder().encode(text));
  expect(push('a\r\nb "')).toBe('{"line":"a"}\n');
  expect(push('c"\n\nd')).toBe('{"line":"b \\"c\\""}\n{"line":""}\n');
  expect(objects.end()).toBe('{"line":"d"}\n');
  const long = push("x".repeat(JSON_LINE_LIMIT_CHARS + 1))
    .trimEnd()
    .split("\n");
  expect(long.map((line) => JSON.parse(line).line.length)).toEqual([JSON_LINE_LIMIT_CHARS, 1]);
  expect(objects.end()).toBe("");
});

test("start --head that was typed does not mind what other commands have in the environment", async () => {
  vi.stubEnv("WHIPRAY_ADDRESS", "127.0.0.1:1");
  vi.stubEnv("WHIPRAY_JOIN", "x");
  const said = vi.spyOn(process.stderr, "write").mockReturnValue(true);
  try {
    const args = ["start", "--head", "--host", "0.0.0.0"];
    expect(await runMain(args, { HOME: "/nonexistent" })).toBe(EXIT.usage);
    expect(String(said.mock.calls[0]?.[0])).toContain("INSECURE_BIND");
  } finally {
    said.mockRestore();
    vi.unstubAllEnvs();
  }
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
