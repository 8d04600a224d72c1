import { expect, test } from "vitest";
import { type StartedHead, startedLines } from "../src/commands/start-lines.ts";

const HEAD: StartedHead = {
  ...{ clusterId: "cluster_a", nodeId: "node_a", address: "127.0.0.1:8265", outside: undefined, host: "127.0.0.1" },
  ...{ tls: false, tokenFile: "/h/token", joinTokenFile: "/h/join-token", joinString: "cluster_a:secret" },
  ...{ isTerminal: true, command: "whipray" },
};
const text = (more: Partial<StartedHead>): string => startedLines({ ...HEAD, ...more }).join("\n");
const BEYOND = { host: "0.0.0.0", outside: "wss://10.0.0.1:8265#pin=ab", tls: true } as const;

test("on a terminal one line joins another machine, with the token as a variable and never as an argument", () => {
  expect(text(BEYOND)).toContain(
    "\n            WHIPRAY_JOIN=cluster_a:secret whipray start --address 10.0.0.1:8265 --host 0.0.0.0",
  );
  expect(text({})).toContain("WHIPRAY_JOIN=cluster_a:secret whipray start --address 127.0.0.1:8265");
  expect(text({ ...BEYOND, tls: false })).toContain("--address 10.0.0.1:8265 --insecure-plaintext --host 0.0.0.0");
});

test("what goes to a file, a pipe or a service manager's log names the token's file and has no secret", () => {
  for (const more of [{}, BEYOND]) {
    const said = text({ ...more, isTerminal: false });
    expect(said).not.toContain("secret");
    expect(said).toContain("--join-token-file /h/join-token\n");
  }
});

test("lines are as the user calls the command", () => {
  expect(text({ command: "npm run whipray --" })).toContain("  look:     npm run whipray -- status");
});
