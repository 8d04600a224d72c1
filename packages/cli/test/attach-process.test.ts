import { type ChildProcess, fork } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { systemClock } from "@whipray/core";
import { type Child, ChildProcesses, MemoryLogs } from "@whipray/raylet";
import { describeLeaks, type RealCluster, startCluster } from "@whipray/testkit";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

const MAIN = fileURLToPath(new URL("../src/main.ts", import.meta.url));
// A program of its own, with the scheduler's package: the CLI knows nothing of it but the names of its actors.
const RANKS = fileURLToPath(new URL("../../scheduler/test/fixtures/ranks.ts", import.meta.url));
const SIZE = { columns: 100, rows: 30 };
const TEST_MS = 90_000;
const home = mkdtempSync(join(tmpdir(), "wa-"));
const processes = new ChildProcesses(systemClock);
let cluster: RealCluster;
let ranks: ChildProcess;
let asked = 0;
let open: Child[] = [];

function environment(): Record<string, string> {
  const { PATH = "", WHIPRAY_TEST_RUN: mark } = process.env;
  const known = { WHIPRAY_ADDRESS: cluster.address, WHIPRAY_TOKEN: cluster.token };
  return { PATH, HOME: home, ...known, ...(mark && { WHIPRAY_TEST_RUN: mark }) };
}

beforeAll(async () => {
  // The second is reached through the head alone, as every raylet is by the CLI.
  cluster = await startCluster({ raylets: [{}, { foreign: true, port: false }] });
  ranks = fork(RANKS, [cluster.address], { env: environment(), execPath: process.execPath });
  await new Promise((resolve) => ranks.once("message", resolve));
}, TEST_MS);

afterEach(() => {
  for (const child of open) child.kill("SIGKILL");
  open = [];
});

afterAll(async () => {
  const ended = new Promise((resolve) => ranks.once("exit", resolve));
  ranks.disconnect();
  await ended;
  const left = await cluster.stop();
  rmSync(home, { recursive: true, force: true });
  expect(describeLeaks(left)).toBe("");
}, TEST_MS);

/** Calls an engine through the scheduler. An error is its text. */
function call(worker: string, method: string, ...args: unknown[]): Promise<unknown> {
  const id = ++asked;
  return new Promise((resolve) => {
    const onMessage = (answer: { id: number; value?: unknown; error?: string }): void => {
      if (answer.id !== id) return;
      ranks.off("message", onMessage);
      resolve(answer.error ?? answer.value);
    };
    ranks.on("message", onMessage);
    ranks.send({ id, worker, method, args });
  });
}

/** `whipray attach` on a terminal, or on pipes. */
async function attach(args: string[], terminal: typeof SIZE | undefined) {
  const log = new MemoryLogs().open("attach");
  const spec = { command: process.execPath, args: [MAIN, "attach", ...args], env: environment(), cwd: home, log };
  const child = await processes.spawn({ ...spec, ...(terminal && { terminal }) });
  open.push(child);
  const output = async (): Promise<string> => (await log.tail(100_000)).join("\n");
  return {
    child,
    output,
    type: (keys: string): void => void child.terminal!.write(Buffer.from(keys)),
    /** Types a question, and again when the answer is another one, until it is this one. */
    async asksUntil(keys: string, text: string): Promise<void> {
      const giveUpAt = systemClock.now() + 20_000;
      while (!(await output()).includes(text)) {
        if (systemClock.now() > giveUpAt)
          throw new Error(`never answered: ${JSON.stringify(text)}; but\n${await output()}`);
        const before = (await output()).split("(Pdb) ").length - 1;
        await child.terminal!.write(Buffer.from(keys));
        await this.shows("(Pdb) ", before + 1);
      }
    },
    /** Waits until it shows this, `times` times. */
    async shows(text: string, times = 1): Promise<void> {
      const giveUpAt = systemClock.now() + 20_000;
      for (;;) {
        const all = await output();
        if (all.split(text).length > times) return;
        if (systemClock.now() > giveUpAt) throw new Error(`never shown: ${JSON.stringify(text)}; but\n${all}`);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    },
  };
}

test(
  "breakpoint() in an engine method: typed at from the terminal of another machine, watched by a second one",
  async () => {
    const answer = call("actor/0", "answer", 42);
    const writer = await attach(["actor/0"], SIZE);
    await writer.shows("(Pdb) ");
    const watcher = await attach(["exp.t1.actor/0", "--watch"], undefined);
    await watcher.shows("(Pdb) ");
    writer.type("p 40+2\r");
    await writer.shows("\n42");
    await watcher.shows("\n42");

    const second = await attach(["actor/0"], SIZE);
    expect(await second.child.exited).toEqual({ code: 1, signal: null });
    expect(await second.output()).toMatch(/\(pid \d+\) types into engine_\w+; watch it .*\[TERMINAL_BUSY\]/s);

    writer.type("p __import__('os').get_terminal_size(0)\r");
    await writer.shows("terminal_size(columns=100, lines=30)");
    writer.child.terminal!.resize(90, 20);
    // The signal of a resize and the keys after it are two ways into the viewer's process: it may hear the keys first.
    await writer.asksUntil(
      "p here, __import__('os').get_terminal_size(0)\r",
      "(42, os.terminal_size(columns=90, lines=20))",
    );

    const thief = await attach(["exp.t1.actor.0", "--steal"], SIZE);
    await writer.shows("took the keyboard; you watch");
    writer.type("here = 43\r"); // nobody hears this
    await thief.shows("(42, os.terminal_size(columns=90");
    thief.type("here = 44\r");
    await writer.shows("here = 44");
    thief.type("c\r");
    expect(await answer).toBe(44);

    thief.type("\u001d");
    expect(await thief.child.exited).toEqual({ code: 0, signal: null });
    expect(await thief.output()).toContain("goes on]");
    expect(await call("actor/0", "size")).toEqual([100, 30]);
    watcher.child.kill("SIGTERM");
    expect(await watcher.child.exited).toEqual({ code: 0, signal: null });
    writer.type("\u0003"); // one who watches leaves by it
    expect(await writer.child.exited).toEqual({ code: 0, signal: null });
  },
  TEST_MS,
);

test(
  "Ctrl-C goes to the rank, ctrl-] only detaches: the rank answers on, and its keyboard is free",
  async () => {
    const first = await attach(["actor/1"], SIZE);
    const debugged = call("actor/1", "answer", 1);
    await first.shows("(Pdb) ");
    first.type("c\r");
    expect(await debugged).toBe(1);
    // pdb has caught Ctrl-C since its `c`; for the call that it was in alone.
    const interrupted = call("actor/1", "sleep", 60);
    await first.shows("sleeping");
    first.type("\u0003");
    expect(await interrupted).toContain("KeyboardInterrupt");
    const sleeping = call("actor/1", "sleep", 2);
    await first.shows("sleeping", 2);
    first.type("\u001d");
    expect(await first.child.exited).toEqual({ code: 0, signal: null });
    expect(await sleeping).toBe(null);
    const second = await attach(["actor/1"], SIZE);
    await second.shows("typing into");
  },
  TEST_MS,
);

test(
  "a viewer that does not read is dropped from and told how much; the rank is not held up (B31)",
  async () => {
    const slow = await attach(["actor/1", "--watch"], SIZE);
    await slow.shows("watching");
    process.kill(slow.child.pid, "SIGSTOP");
    expect(await call("actor/1", "flood", 200_000)).toBe(null); // it ends, though nobody reads
    process.kill(slow.child.pid, "SIGCONT");
    await slow.shows("bytes dropped]");
    await slow.shows("00199999");
  },
  TEST_MS,
);

test(
  "without a pseudo-terminal attach says so and follows the log; its escapes do not act on a terminal (B31)",
  async () => {
    await call("plain/0", "say", "before");
    const pipe = await attach(["plain/0"], undefined);
    const screen = await attach(["plain/0"], SIZE);
    for (const one of [pipe, screen]) {
      await one.shows("has no pseudo-terminal");
      await one.shows("before");
    }
    await call("plain/0", "say", "\u001b]52;c;aGk=\u0007 \u001b[31mred\u001b[0m \u001b]0;title\u0007 after");
    await screen.shows("␛]52;c;aGk=␇ red ␛]0;title␇ after");
    await pipe.shows("\u001b[31mred");
    expect(await screen.output()).not.toContain("\u001b]52");
    pipe.child.kill("SIGINT");
    expect(await pipe.child.exited).toEqual({ code: 0, signal: null });
    screen.type("\u0003");
    expect(await screen.child.exited).toEqual({ code: 0, signal: null });
  },
  TEST_MS,
);

test(
  "a restarted head: who is attached sees and types on, and the rank's end is told with its signal",
  async () => {
    const viewer = await attach(["actor/0"], SIZE);
    await viewer.shows("typing into");
    const answer = call("actor/0", "answer", 7);
    await viewer.shows("(Pdb) ");
    await cluster.head.restart();
    viewer.type("p 70+7\r");
    await viewer.shows("\n77");
    viewer.type("c\r");
    expect(await answer).toBe(7);
    expect(await call("actor/0", "die")).toContain("SIGKILL");
    expect(await viewer.child.exited).toEqual({ code: 0, signal: null });
    const shown = await viewer.output();
    expect(shown).toContain("last words");
    expect(shown).toMatch(/\[engine engine_\w+ \(pid \d+\) ended with .*SIGKILL/);
  },
  TEST_MS,
);

test(
  "SIGKILL of the viewer that types: the next one has the keyboard at once, without --steal",
  async () => {
    const first = await attach(["actor/1"], SIZE);
    await first.shows("typing into");
    first.child.kill("SIGKILL");
    await first.child.exited;
    // The node hears of the broken connection in its own time, but long before the session is given up.
    const giveUpAt = systemClock.now() + 10_000;
    for (;;) {
      const next = await attach(["actor/1"], SIZE);
      const refused = await Promise.race([next.child.exited.then(() => true), next.shows("typing into")]);
      if (refused !== true) break;
      expect(await next.output()).toContain("TERMINAL_BUSY");
      expect(systemClock.now()).toBeLessThan(giveUpAt);
    }
  },
  TEST_MS,
);

test(
  "what is not there exits 3, and --watch with --steal 2",
  async () => {
    expect(await (await attach(["nobody/0"], undefined)).child.exited).toMatchObject({ code: 3 });
    expect(await (await attach(["engine_nobody"], undefined)).child.exited).toMatchObject({ code: 3 });
    expect(await (await attach(["actor/0", "--watch", "--steal"], undefined)).child.exited).toMatchObject({ code: 2 });
  },
  TEST_MS,
);
