import { expect } from "vitest";
import { Rank, type Stage } from "./stage.ts";

const MIB = 2 ** 20;

/** Stops a worker that is to receive 64 MiB: calls to another one on its node go on, and when it runs again it gets all of it. */
export async function stalledReceiver(stage: Stage): Promise<void> {
  const stalled = await Rank.start(stage, "stalled", "far");
  const other = await Rank.start(stage, "other", "far");
  process.kill(stalled.worker, "SIGSTOP");
  let finished = false;
  const large = stalled.call("size", [new Uint8Array(64 * MIB)]).finally(() => {
    finished = true;
  });
  for (let index = 0; index < 50; index++) expect(await other.call("echo", [index])).toBe(index);
  expect(await other.call("size", [new Uint8Array(8 * MIB)])).toBe(8 * MIB);
  expect(finished).toBe(false);
  process.kill(stalled.worker, "SIGCONT");
  expect(await large).toBe(64 * MIB);
}
