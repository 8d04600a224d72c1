import { type AbortOptions, type Clock, GetTimeoutError, WhiprayError } from "@whipray/core";
import { ObjectRef, type RefSource } from "./object-ref.ts";
import { SettleWatch } from "./settle-watch.ts";

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
  if (uniqueLists.get(refs) !== refs.length) {
    for (const ref of refs) requireRef(ref, "wait");
    if (new Set(refs.map((ref) => ref.id)).size !== refs.length) throw invalid("wait takes each ref once");
  }
  if (timeoutMs !== undefined && !(timeoutMs >= 0)) throw invalid(`timeoutMs must be 0 or more; got ${timeoutMs}`);
  if (refs.length === 0) return [[], []];
  if (!Number.isInteger(numReturns) || numReturns < 1 || numReturns > refs.length) {
    throw invalid(`numReturns must be a whole number from 1 to ${refs.length}, the number of refs; got ${numReturns}`);
  }
  const arrived = new Set<RefSource>();
  const isReady = ({ source }: ObjectRef): boolean => arrived.has(source) || source.isReady(fetchLocal);
  if (countUpTo(numReturns, refs, isReady) < numReturns) await arrival(clock, refs, options, numReturns, arrived);
  return split<T>(refs, numReturns, isReady);
}

const watch = new SettleWatch();
/** Lists that `wait` gave, with their lengths: a loop that waits for what is pending, one by one, need not be checked each time. */
const uniqueLists = new WeakMap<readonly ObjectRef[], number>();

/** Until enough have arrived, or the time is over; those that did are in `arrived` afterwards. */
async function arrival(
  clock: Clock,
  refs: readonly ObjectRef[],
  options: WaitOptions,
  numReturns: number,
  arrived: Set<RefSource>,
): Promise<void> {
  const { fetchLocal = true } = options;
  let enough: () => void = () => {};
  const done = new Promise<void>((resolve) => {
    enough = resolve;
  });
  for (const { source } of refs) if (source.isReady(fetchLocal)) arrived.add(source);
  const pending = refs.flatMap(({ source }) => (arrived.has(source) ? [] : [source]));
  const unwatch = watch.watch(pending, fetchLocal, (source) => {
    arrived.add(source);
    if (arrived.size >= numReturns) enough();
  });
  try {
    await bounded(clock, done, options, () => {});
  } finally {
    unwatch();
  }
}

function countUpTo(most: number, refs: readonly ObjectRef[], isReady: (ref: ObjectRef) => boolean): number {
  let count = 0;
  for (let i = 0; i < refs.length && count < most; i++) if (isReady(refs[i]!)) count++;
  return count;
}

/** The first `numReturns` ready ones, and all others. */
function split<T extends ObjectRef>(refs: readonly T[], numReturns: number, isReady: (ref: T) => boolean): [T[], T[]] {
  const ready: T[] = [];
  const pending: T[] = [];
  let i = 0;
  for (; i < refs.length && ready.length < numReturns; i++) (isReady(refs[i]!) ? ready : pending).push(refs[i]!);
  const others = pending.length === 0 ? refs.slice(i) : pending.concat(refs.slice(i));
  uniqueLists.set(others, others.length);
  return [ready, others];
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
