import { readdirSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { afterAll, expect, test } from "vitest";
import { follow, MAIN, makeMachine, until } from "./machine.ts";

const TEST_MS = 90_000;
const TOKEN = "5e".repeat(32);
const JOIN = `cluster_${"a".repeat(16)}:${TOKEN}`;

/** What /proc shows of every process whose environment or arguments have the mark. */
function shown(kind: "cmdline" | "environ", mark: string): string[] {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid);
  return pids.flatMap((pid) => {
    try {
      return readFileSync(`/proc/${pid}/${kind}`, "utf8").includes(mark) ? [pid] : [];
    } catch {
      return []; // it has gone, or is another user's
    }
  });
}

const machine = makeMachine();
afterAll(() => machine.leave(), TEST_MS);

test(
  "a join token is in nobody's arguments once it was read, and no daemon has it in its environment",
  async () => {
    // A head that takes connections and says nothing: joining goes on until it is given up.
    const silent = createServer(() => {});
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    const address = `127.0.0.1:${(silent.address() as { port: number }).port}`;
    const joining = follow(machine, "start", "--address", address, "--join", JOIN, "--wait-seconds", "600");
    try {
      const { run } = machine;
      const states = () => readdirSync(run, { recursive: true }).filter((name) => /node_\w+\.json$/.test(String(name)));
      await until("the raylet runs", () => states().length > 0);
      await until("the token is out of the arguments", () => shown("cmdline", TOKEN).length === 0);
      expect(shown("environ", TOKEN)).toEqual([]);
      expect(joining.child.exitCode).toBeNull();
    } finally {
      joining.child.kill("SIGKILL");
      await joining.ended;
      expect(await machine.whipray("stop", "--force")).toMatchObject({ code: 0 });
      silent.close();
    }
  },
  TEST_MS,
);

test(
  "a join token in a variable stays with the command that reads it",
  async () => {
    const closed = ["start", "--address", "127.0.0.1:1", "--wait-seconds", "0"];
    const end = await machine.node([MAIN, ...closed], { WHIPRAY_JOIN: JOIN });
    expect(end).toMatchObject({ code: 5, stderr: expect.stringContaining("HEAD_SILENT") });
    expect(`${end.stdout}${end.stderr}`).not.toContain(TOKEN);
    expect(shown("environ", TOKEN)).toEqual([]);
    expect(shown("cmdline", TOKEN)).toEqual([]);
    expect(await machine.whipray("stop", "--force")).toMatchObject({ code: 0 });
  },
  TEST_MS,
);
