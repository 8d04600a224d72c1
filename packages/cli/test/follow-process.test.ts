import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { DRIVER, follow, makeMachine, until } from "./machine.ts";

const TEST_MS = 120_000;
const machine = makeMachine();
const { run, node, whipray } = machine;
let started: { address: string; nodeId: string };

beforeAll(async () => {
  const end = await whipray("start", "--head", "--port", "0", "--num-cpus", "2", "--json");
  expect(end).toMatchObject({ code: 0 });
  started = JSON.parse(end.stdout);
}, TEST_MS);
afterAll(() => machine.leave(), TEST_MS);

test(
  "events: what happened here, by type and limit, also under Ray's name; bad input exits 2",
  async () => {
    const past = JSON.parse((await whipray("events", "--json", "--type", "NODE_ALIVE", "HEAD_STARTED")).stdout);
    expect(past).toMatchObject({ total: 2, lost: 0, events: [{ type: "HEAD_STARTED" }, { type: "NODE_ALIVE" }] });
    const newest: number = past.events[1].seq;
    const one = await whipray("events", "--type", "NODE_ALIVE", "--id", started.nodeId);
    expect(one.stdout).toMatch(/^\d{4}-\S+Z INFO {4}NODE_ALIVE node \S+ \(node_\w+\) is alive\n$/);
    expect((await whipray("list", "cluster-events")).stdout).toContain("HEAD_STARTED");
    const strange = await whipray("events", "--since", String(newest + 1_000_000), "--json");
    expect(strange).toMatchObject({ code: 2, stderr: expect.stringContaining("has happened yet") });
    expect(JSON.parse(strange.stdout)).toMatchObject({ error: { code: "INVALID_ARGUMENT" } });
  },
  TEST_MS,
);

test(
  "logs --follow shows the last lines and what is added, as text and as JSON lines, until the actor's end",
  async () => {
    const say = async (): Promise<number> => Number((await node([DRIVER, started.address])).stdout);
    const pid = await say();
    const text = follow(machine, "logs", "talker", "--follow", "--lines", "1");
    const json = follow(machine, "logs", "talker", "-f", "--json");
    await until("the last line is shown", () => text.out.length === 1 && json.out.length >= 1);
    expect(text.out).toEqual(["hello from the actor"]);
    process.kill(pid, "SIGKILL");
    // Its end is told in the log's own way, and ends the command in order.
    expect(await text.ended).toBe(0);
    expect(await json.ended).toBe(0);
    expect(text.err.join()).toContain("the log is closed");
    expect(json.out.map((line) => JSON.parse(line))).toContainEqual({ line: "hello from the actor" });
    const ended = follow(machine, "logs", "talker", "--follow");
    expect(await ended.ended).toBe(0);
    expect(ended.out).toContain("hello from the actor");
  },
  TEST_MS,
);

test(
  "events --follow goes on over a restart of the head: each event once and in order, with a word and a gap where it was away",
  async () => {
    const json = follow(machine, "events", "--follow", "--json", "--limit", "10000");
    const text = follow(machine, "events", "--follow", "--type", "NODE_ALIVE", "--limit", "0");
    const parsed = () => json.out.map((line) => JSON.parse(line) as { seq?: number; type?: string; gap?: string });
    try {
      await until("what was is shown", () => parsed().some(({ type }) => type === "NODE_ALIVE"));
      const before = Math.max(...parsed().map(({ seq = 0 }) => seq));
      // Both follow only when they have asked: each driver that comes is a job.
      await until("it follows", async () => {
        await node([DRIVER, started.address]);
        return parsed().some(({ seq = 0, type }) => seq > before && type === "JOB_STARTED");
      });
      process.kill(JSON.parse(readFileSync(join(run, "daemons/head.json"), "utf8")).pid, "SIGKILL");
      await until("they say that the head is away", () =>
        [json, text].every(({ err }) => err.join().includes("is away")),
      );
      expect(await whipray("start", "--head", "--port", "0", "--json")).toMatchObject({ code: 0 });
      await until("the raylet is back, for both", () => {
        const place = parsed().findIndex(({ gap }) => gap !== undefined);
        const back = parsed().slice(place + 1);
        return place >= 0 && back.some(({ type }) => type === "NODE_ALIVE") && text.out.length > 0;
      });
      expect(text.err.join("\n")).toMatch(/the head is back\ngap: the head was restarted/);
      const told = parsed();
      const seqs = told.flatMap(({ seq }) => (seq === undefined ? [] : [seq]));
      expect(seqs).toEqual([...new Set(seqs)].sort((a, b) => a - b));
      expect(told.filter(({ gap }) => gap !== undefined)).toHaveLength(1);
      const next = told[told.findIndex(({ gap }) => gap !== undefined) + 1];
      expect(next).toMatchObject({ type: "HEAD_STARTED" });
    } finally {
      for (const { child, ended } of [json, text]) {
        child.kill("SIGINT");
        await ended;
      }
    }
  },
  TEST_MS,
);
