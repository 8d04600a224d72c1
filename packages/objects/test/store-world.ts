import { type Clock, type Logger, silentLogger, systemClock, WhiprayError } from "@whipray/core";
import { onTestFinished } from "vitest";
import { DEFAULT_LIMITS, MemorySegments, MemorySpill, NodeStore, type StoreLimits } from "../src/index.ts";

export const MIB = 1_048_576;

/** A store with everything in memory; patience is short. */
export function memoryStore(
  limits: Partial<StoreLimits> = {},
  clock: Clock = systemClock,
  logger: Logger = silentLogger,
) {
  const segments = new MemorySegments();
  const spill = new MemorySpill();
  const all = { ...DEFAULT_LIMITS, capacityBytes: 8 * MIB, diskBytes: 1_000 * MIB, patienceMs: 20, ...limits };
  const store = new NodeStore({ limits: all, segments, spill, clock, logger });
  onTestFinished(() => store.close());
  return { store, segments, spill };
}

/** Writes one object of `bytes` bytes, all `fill`. */
export async function put(
  store: NodeStore,
  object: string,
  bytes: number,
  fill = 0,
  creator = "writer",
): Promise<void> {
  await store.create({ object, owner: "owner", creator, bytes });
  const step = MIB;
  for (let at = 0; at < bytes; at += step) {
    await store.write(object, at, new Uint8Array(Math.min(step, bytes - at)).fill(fill));
  }
  store.seal(object, creator);
}

export async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return "none";
  } catch (error) {
    return error instanceof WhiprayError ? error.code : String(error);
  }
}
