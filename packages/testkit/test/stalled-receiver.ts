import { readFileSync } from "node:fs";
import { ROUTE_WINDOW_BYTES } from "@whipray/rpc";
import { expect } from "vitest";
import { until } from "./outside.ts";
import { PATIENCE_MS, Rank, rayletAt, type Stage } from "./stage.ts";

const MIB = 2 ** 20;
/** A route's window without the quarter that its receiver may not have granted again yet: there is no credit left. */
const STALLED_BYTES = (ROUTE_WINDOW_BYTES * 3) / 4;

/** Values that are too small for an object store, so that they go over the route: 16 MiB of them. */
const PIECE = { bytes: 65_536, count: 256 };

/** Stops a worker that is to receive 64 MiB, and 16 MiB over its route: calls to another one on its node go on, and when it runs again it gets all of it. */
export async function stalledReceiver(stage: Stage): Promise<void> {
  const stalled = await Rank.start(stage, "stalled", "far");
  const other = await Rank.start(stage, "other", "far");
  process.kill(stalled.worker, "SIGSTOP");
  const raylet = rayletAt(stage.real, "far").pid;
  const before = readBytes(raylet);
  let finished = false;
  const large = stalled.call("size", [new Uint8Array(64 * MIB)]).finally(() => {
    finished = true;
  });
  const pieces = Array.from({ length: PIECE.count }, () => stalled.call("size", [new Uint8Array(PIECE.bytes)]));
  await until("the window is used up", PATIENCE_MS, () => readBytes(raylet) - before >= STALLED_BYTES);
  for (let index = 0; index < 50; index++) expect(await other.call("echo", [index])).toBe(index);
  expect(await other.call("size", [new Uint8Array(8 * MIB)])).toBe(8 * MIB);
  expect(finished).toBe(false);
  process.kill(stalled.worker, "SIGCONT");
  expect(await large).toBe(64 * MIB);
  expect(await Promise.all(pieces)).toEqual(pieces.map(() => PIECE.bytes));
}

/** What a process has read so far, from sockets too. */
function readBytes(pid: number): number {
  return Number(/^rchar: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, "utf8"))?.[1]);
}
