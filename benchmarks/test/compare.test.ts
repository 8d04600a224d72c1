import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, it } from "vitest";
import { quantile } from "../src/statistics.ts";
import { type Column, compare } from "../src/vs-ray/compare.ts";
import { LastingSide } from "../src/vs-ray/lasting-side.ts";
import { judge, type RowResult } from "../src/vs-ray/measured.ts";
import { openLoop } from "../src/vs-ray/open-loop.ts";
import type { RowSpec } from "../src/vs-ray/rows.ts";
import { Side } from "../src/vs-ray/side.ts";
import { losersFirst, tableOf } from "../src/vs-ray/table.ts";

const FAKE = fileURLToPath(new URL("./fake-side.ts", import.meta.url));
const ROW: RowSpec = {
  id: "calls",
  name: "calls",
  per: 10,
  unit: "/s",
  better: "more",
  limit: "ping",
  floor: { times: 2 },
};
const open: Side[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((side) => side.close()));
});

async function column(name: string, what: string): Promise<Column> {
  const side = await Side.start({ file: process.execPath, args: [FAKE, what] });
  open.push(side);
  return { name, has: () => true, ask: (_, request) => side.ask(request) };
}

async function run(columns: Column[], rows: readonly RowSpec[] = [ROW]): Promise<RowResult[]> {
  const results: RowResult[] = [];
  const asked = { rounds: 5, seconds: 0.01, quick: false };
  for await (const result of compare(rows, columns, { rate: async () => 10_000 }, asked)) results.push(result);
  return results;
}

describe("an open loop, with a server whose latency is known", () => {
  /** One server that takes `serviceMs` for each call, in their order, and stands still once; its own clock, moved by turns of a tenth of a millisecond. */
  function server(serviceMs: number, stall: { fromMs: number; toMs: number } = { fromMs: 0, toMs: 0 }) {
    let now = 0;
    let freeAt = 0;
    const waiting: { at: number; resolve: () => void }[] = [];
    const call = (): Promise<void> => {
      const begins = Math.max(now, freeAt);
      freeAt = (begins >= stall.fromMs && begins < stall.toMs ? stall.toMs : begins) + serviceMs;
      return new Promise((resolve) => void waiting.push({ at: freeAt, resolve }));
    };
    const turn = async (): Promise<void> => {
      now = Math.round((now + 0.1) * 10) / 10;
      while (waiting[0] && waiting[0].at <= now + 1e-9) waiting.shift()!.resolve();
      await Promise.resolve();
    };
    const time = { nowMs: () => now, turn };
    /** Turns until all have come back: the loop itself stops turning when the last call is sent. */
    const latencies = async (perSecond: number, seconds: number): Promise<number[]> => {
      const all = openLoop(call, perSecond, seconds, time);
      let over = false;
      void all.finally(() => {
        over = true;
      });
      while (!over) {
        await new Promise((resolve) => setImmediate(resolve));
        await turn();
      }
      return (await all).map((took) => took * 1_000);
    };
    return latencies;
  }

  it("each call has the server's latency while it keeps up", async () => {
    const took = await server(0.5)(1_000, 0.2);
    expect(took).toHaveLength(200);
    // A turn of the simulated loop is a tenth of a millisecond.
    expect(quantile(took, 0.5)).toBeCloseTo(0.5, 0);
    expect(Math.min(...took)).toBeGreaterThan(0.49);
    expect(quantile(took, 0.99)).toBeLessThan(1);
  });

  it("a standstill counts for every call that was due in it, not for one alone", async () => {
    // 1 000 calls, one a millisecond; the server stands still from 300 to 400 ms, and needs 0.5 ms a call to catch up.
    const took = await server(0.5, { fromMs: 300, toMs: 400 })(1_000, 1);
    expect(Math.max(...took)).toBeGreaterThan(99);
    // A loop that waits for each answer would have seen one slow call. Here 100 were due meanwhile, and as many until it had caught up.
    const late = took.filter((ms) => ms > 1);
    expect(late.length).toBeGreaterThan(190);
    expect(late.length).toBeLessThan(205);
    expect(quantile(took, 0.9)).toBeGreaterThan(45);
    expect(quantile(took, 0.9)).toBeLessThan(55);
  });

  it("a server that cannot keep up has latencies that grow to the end", async () => {
    const took = await server(2)(1_000, 0.1);
    // The last of 100 calls was due at 99 ms and came back at 200.
    expect(Math.max(...took)).toBeGreaterThan(100);
    expect(Math.max(...took)).toBeLessThan(103);
  });

  it("a turn of the loop that comes late counts, too", async () => {
    const started = performance.now();
    const blocked = (): Promise<void> => {
      while (performance.now() - started < 30);
      return Promise.resolve();
    };
    const took = await openLoop(blocked, 1_000, 0.02);
    expect(took).toHaveLength(20);
    // The first call held all up: the ones that were due meanwhile waited for it.
    expect(Math.min(...took)).toBeGreaterThan(0.009);
  });
});

describe("sides in turns", () => {
  it("a fake slow target shows as slow, a fast one as fast", async () => {
    const [slow] = await run([await column("ray", "2"), await column("whipray", "20")]);
    expect(slow!.columns["whipray"]!.rounds).toEqual([500, 500, 500, 500, 500]);
    expect(judge(slow!, "whipray")).toMatchObject({ verdict: "slower", reached: false, ofLimit: 0.05 });
    expect(judge(slow!, "whipray")!.ratio.median).toBeCloseTo(0.1);
    const [fast] = await run([await column("ray", "20"), await column("whipray", "2")]);
    expect(judge(fast!, "whipray")).toMatchObject({ verdict: "faster", reached: true });
  });

  it("equal sides differ in nothing", async () => {
    const [same] = await run([await column("ray", "2"), await column("whipray", "2")]);
    expect(judge(same!, "whipray")!.verdict).toBe("no difference");
  });

  it("each column is the first of a round in its turn, and round 0 is not counted", async () => {
    const asked: string[] = [];
    const fake = (name: string): Column => ({
      name,
      has: () => true,
      ask: async (_, request) => {
        if ("row" in request) asked.push(`${name}${request.seconds === 0.5 ? "-warm" : ""}`);
        return { took: [1] };
      },
    });
    const results: RowResult[] = [];
    const rounds = { rounds: 2, seconds: 1, quick: false };
    for await (const one of compare([ROW], [fake("a"), fake("b")], { rate: async () => 1 }, rounds)) results.push(one);
    expect(asked).toEqual(["a-warm", "b-warm", "b", "a", "a", "b"]);
    expect(results[0]!.columns["a"]!.rounds).toHaveLength(2);
  });

  it("`--quick` runs a tenth of a long loop and counts a tenth", async () => {
    const scales: number[] = [];
    const fake: Column = {
      name: "ray",
      has: () => true,
      ask: async (_, request) => {
        if ("scale" in request) scales.push(request.scale);
        return { took: [1] };
      },
    };
    const rows = [{ ...ROW, scaled: true }];
    for await (const { columns } of compare(
      rows,
      [fake],
      { rate: async () => 1 },
      { rounds: 1, seconds: 1, quick: true },
    ))
      expect(columns["ray"]!.rounds).toEqual([1]);
    expect(scales).toEqual([0.1, 0.1]);
  });

  it("a column that fails says why, and the other goes on", async () => {
    for (const [what, why] of [
      ["refuse", "no loop"],
      ["die", "ended with 4"],
      ["garbage", "unreadable answer"],
    ] as const) {
      const [result] = await run([await column("ray", "2"), await column("whipray", what)]);
      expect(result!.columns["whipray"]!.error).toContain(why);
      expect(result!.columns["ray"]!.rounds).toHaveLength(5);
      expect(judge(result!, "whipray")).toBeUndefined();
      expect(tableOf([result!], ["ray", "whipray"])).toContain(why);
    }
  });

  it("a side that died in one row is there again for the next one, and not after its end", async () => {
    const side = await LastingSide.start({ file: process.execPath, args: [FAKE, "2"] });
    const ask = (row: string) => side.ask({ row, seconds: 0, scale: 1 });
    expect(await ask("die")).toMatchObject({ error: expect.stringContaining("ended with 4") });
    expect(await ask("die")).toEqual({ error: "the side died in this row" });
    expect(await side.ask({ end: "die" })).toHaveProperty("error");
    expect(await ask("calls")).toEqual({ took: [0.002, 0.002] });
    await side.close();
    expect(await ask("another")).toHaveProperty("error");
  });

  it("a row that takes too long has fewer rounds, but one", async () => {
    let nowMs = 0;
    const slow: Column = {
      name: "ray",
      has: () => true,
      ask: async () => {
        nowMs += 4_000;
        return { took: [1] };
      },
    };
    const asked = { rounds: 5, seconds: 1, quick: true, rowSeconds: 10 };
    const limits = { rate: async () => 1 };
    for await (const { columns } of compare([ROW], [slow], limits, asked, () => nowMs))
      expect(columns["ray"]!.rounds).toHaveLength(2);
    const hurried = { ...asked, rowSeconds: 1 };
    for await (const { columns } of compare([ROW], [slow], limits, hurried, () => nowMs))
      expect(columns["ray"]!.rounds).toHaveLength(1);
  });

  it("a side that does not start is an error with its last words", async () => {
    await expect(Side.start({ file: process.execPath, args: [FAKE, "die-at-start"] })).rejects.toThrow(
      /ended with 3[\s\S]*no such library/,
    );
    await expect(Side.start({ file: "/no/such/program", args: [] })).rejects.toThrow(/could not start/);
  });

  it("a side that is closed while it is asked ends, and the question has an answer", async () => {
    const side = await Side.start({ file: process.execPath, args: [FAKE, "silent"] });
    const asked = side.ask({ row: "calls", seconds: 0, scale: 1 });
    await side.close();
    expect(await asked).toMatchObject({ error: expect.stringContaining("ended with") });
  });

  it("rows that Whipray loses are printed first", async () => {
    const won = await run([await column("ray", "20"), await column("whipray", "2")], [{ ...ROW, name: "won" }]);
    const lost = await run([await column("ray", "2"), await column("whipray", "20")], [{ ...ROW, name: "lost" }]);
    expect(losersFirst([...won, ...lost]).map(({ row }) => row.name)).toEqual(["lost", "won"]);
    const lines = tableOf([...won, ...lost], ["ray", "whipray"]).split("\n");
    expect(lines[1]).toMatch(/^lost .*▼.*NO \(2×\)/);
    expect(lines[2]).toMatch(/^won .*▲.*yes/);
  });
});
