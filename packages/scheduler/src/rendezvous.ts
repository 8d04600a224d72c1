import { type Clock, delay } from "@whipray/core";
import { type MasterAddress, saysPortInUse } from "./fresh-port.ts";

/** What one rank is told when a gang meets. */
export interface Meeting extends MasterAddress {
  readonly rank: number;
  readonly worldSize: number;
  /** 1, and more after a port that was taken. */
  readonly attempt: number;
  /** Aborted when another rank failed: pass it to the calls, with `rpcMeta: { interrupt: true }` for sync methods that wait. */
  readonly signal: AbortSignal;
}

/** A rank that fails otherwise may have met the stranger: so long may the one that finds the port taken take to say so. */
export const VERDICT_MS = 2_000;

/**
 * Runs `join` for all ranks at the same time. When one says that the port was taken, that is the error, whoever failed first; else the
 * first error, once all have settled or VERDICT_MS are over. The others are told by their signal.
 */
export async function meet<T>(
  workers: readonly string[],
  join: (workerId: string, meeting: Meeting) => Promise<T>,
  { address, attempt, signal, clock }: { address: MasterAddress; attempt: number; signal?: AbortSignal; clock: Clock },
): Promise<T[]> {
  const failed = new AbortController();
  const gang = signal ? AbortSignal.any([signal, failed.signal]) : failed.signal;
  const verdict = Promise.withResolvers<unknown>();
  const joins = workers.map(async (workerId, rank) => {
    gang.throwIfAborted();
    return join(workerId, { ...address, rank, worldSize: workers.length, attempt, signal: gang });
  });
  for (const one of joins) {
    one.catch((error: unknown) => {
      if (saysPortInUse(error, address.port)) verdict.resolve(error);
    });
  }
  try {
    return await Promise.all(joins);
  } catch (first) {
    if (!saysPortInUse(first, address.port)) {
      // Not aborted yet: the rank that binds must be able to say what it found.
      const settled = Promise.allSettled(joins).then(() => first);
      const error = await Promise.race([verdict.promise, settled, delay(clock, VERDICT_MS).then(() => first)]);
      failed.abort(error);
      throw error;
    }
    failed.abort(first);
    throw first;
  }
}
