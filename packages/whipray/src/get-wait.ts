import { type AbortOptions, type Clock, GetTimeoutError, WhiprayError } from "@whipray/core";
import { ObjectRef } from "./object-ref.ts";

export interface GetOptions extends AbortOptions {
  /** Longest wait; none by default. Ends with GetTimeoutError, the work goes on. */
  timeoutMs?: number | undefined;
}

export interface WaitOptions extends GetOptions {
  /** How many refs must be ready. Default 1. */
  numReturns?: number | undefined;
  /** A ref is ready only when its value lies on this machine. Default true (Ray). */
  fetchLocal?: boolean | undefined;
}

/** The values of refs, in their order; the first that failed raises (Ray: `ray.get`). */
export async function getRefs(
  clock: Clock,
  refs: ObjectRef | readonly ObjectRef[],
  options: GetOptions = {},
): Promise<unknown> {
  const list = Array.isArray(refs) ? (refs as readonly ObjectRef[]) : [refs as ObjectRef];
  for (const ref of list) requireRef(ref, "get");
  const values = Promise.all(list.map((ref) => ref.source.value()));
  const all = await bounded(clock, values, options, () => {
    throw new GetTimeoutError({
      message: `${list.filter((ref) => !ref.source.isSettled).length} of ${list.length} objects were not ready within ${options.timeoutMs} ms`,
    });
  });
  return Array.isArray(refs) ? all : (all as unknown[])[0];
}

/**
 * [ready, pending], both in the order of the input; at most `numReturns` ready ones (Ray: `ray.wait`). A ref whose call failed is ready.
 * @throws WhiprayError `INVALID_ARGUMENT` for duplicates, a list that is none, numReturns out of 1 … length.
 */
export async function waitRefs<T extends ObjectRef>(
  clock: Clock,
  refs: readonly T[],
  options: WaitOptions = {},
): Promise<[T[], T[]]> {
  const { numReturns = 1, timeoutMs, fetchLocal = true } = options;
  if (!Array.isArray(refs)) throw invalid("wait takes a list of refs");
  for (const ref of refs) requireRef(ref, "wait");
  if (new Set(refs.map((ref) => ref.id)).size !== refs.length) throw invalid("wait takes each ref once");
  if (timeoutMs !== undefined && !(timeoutMs >= 0)) throw invalid(`timeoutMs must be 0 or more; got ${timeoutMs}`);
  if (refs.length === 0) return [[], []];
  if (!Number.isInteger(numReturns) || numReturns < 1 || numReturns > refs.length) {
    throw invalid(`numReturns must be a whole number from 1 to ${refs.length}, the number of refs; got ${numReturns}`);
  }
  const arrived = new Set<ObjectRef>(refs.filter((ref) => ref.source.isReady(fetchLocal)));
  let enough: () => void = () => {};
  const done = new Promise<void>((resolve) => {
    enough = resolve;
  });
  for (const ref of arrived.size >= numReturns ? [] : refs) {
    if (arrived.has(ref)) continue;
    void ref.source.settled(fetchLocal).then(() => {
      arrived.add(ref);
      if (arrived.size >= numReturns) enough();
    });
  }
  if (arrived.size < numReturns) await bounded(clock, done, options, () => {});
  const ready = refs.filter((ref) => arrived.has(ref)).slice(0, numReturns);
  const chosen = new Set(ready);
  return [ready, refs.filter((ref) => !chosen.has(ref))];
}

async function bounded<T>(
  clock: Clock,
  work: Promise<T>,
  options: GetOptions,
  onTimeout: () => void,
): Promise<T | undefined> {
  const { timeoutMs, signal } = options;
  signal?.throwIfAborted();
  if (timeoutMs === undefined && !signal) return work;
  let undo = (): void => {};
  const ending = new Promise<undefined>((resolve, reject) => {
    const timer =
      timeoutMs === undefined
        ? undefined
        : clock.after(timeoutMs, () => settle(resolve, reject, onTimeout), { keepAlive: true });
    const abort = (): void => reject(signal?.reason);
    signal?.addEventListener("abort", abort, { once: true });
    undo = () => {
      timer?.cancel();
      signal?.removeEventListener("abort", abort);
    };
  });
  try {
    return await Promise.race([work, ending]);
  } finally {
    undo();
  }
}

function settle(resolve: (value: undefined) => void, reject: (error: unknown) => void, action: () => void): void {
  try {
    action();
    resolve(undefined);
  } catch (error) {
    reject(error);
  }
}

function requireRef(ref: unknown, what: string): void {
  if (!(ref instanceof ObjectRef)) throw invalid(`${what} takes ObjectRefs; got ${typeof ref}`);
}

function invalid(message: string): WhiprayError {
  return new WhiprayError({ code: "INVALID_ARGUMENT", message });
}
