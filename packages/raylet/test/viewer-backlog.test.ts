import { TERMINAL_CHUNK_LIMIT_BYTES } from "@whipray/rpc";
import fc from "fast-check";
import { expect, test } from "vitest";
import { VIEWER_BACKLOG_LIMIT_BYTES, ViewerBacklog } from "../src/viewer-backlog.ts";

const LIMIT = 100;

/** Output whose bytes tell where they stand, with a newline now and then. */
function output(from: number, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, at) => ((from + at) % 17 === 0 ? 10 : 32 + ((from + at) % 90)));
}

test("what is shown and what is counted as dropped is the output, in its order, without a gap that nobody tells of", () => {
  const steps = fc.array(
    fc.oneof(
      fc.nat(250).map((push) => ({ push })),
      fc.constant("take" as const),
    ),
  );
  fc.assert(
    fc.property(steps, (sequence) => {
      const backlog = new ViewerBacklog(LIMIT);
      let pushed = 0;
      let seen = 0;
      const take = (): void => {
        const shown = backlog.take();
        if (!shown) return;
        if ("data" in shown) expect([...shown.data]).toEqual([...output(seen, shown.data.length)]);
        if ("data" in shown) expect(shown.data.length).toBeLessThanOrEqual(LIMIT);
        seen += "data" in shown ? shown.data.length : shown.dropped;
      };
      for (const step of sequence) {
        if (step === "take") {
          take();
        } else {
          backlog.push(output(pushed, step.push));
          pushed += step.push;
        }
      }
      while (!backlog.empty) take();
      expect(seen).toBe(pushed);
    }),
  );
});

test("a full backlog drops all that waits, and goes on after a newline", () => {
  const backlog = new ViewerBacklog(20);
  backlog.push(Buffer.from("0123456789"));
  backlog.push(Buffer.from("half \u001b[3\nwhole line"));
  expect(backlog.take()).toEqual({ dropped: 19 });
  expect(String(Buffer.from((backlog.take() as { data: Uint8Array }).data))).toBe("whole line");
  expect(backlog.take()).toBeUndefined();
});

test("no more than the limit is kept, and no piece is longer than an item may be", () => {
  const backlog = new ViewerBacklog();
  const flood = new Uint8Array(3 * VIEWER_BACKLOG_LIMIT_BYTES).fill(120);
  backlog.push(flood);
  expect(backlog.take()).toEqual({ dropped: 2 * VIEWER_BACKLOG_LIMIT_BYTES });
  let kept = 0;
  for (let item = backlog.take(); item && "data" in item; item = backlog.take()) {
    expect(item.data.length).toBeLessThanOrEqual(TERMINAL_CHUNK_LIMIT_BYTES);
    kept += item.data.length;
  }
  expect(kept).toBe(VIEWER_BACKLOG_LIMIT_BYTES);
});
