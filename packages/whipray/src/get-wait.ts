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
  const watching = loop?.list.deref() === refs && loop.fetchLocal === fetchLocal ? loop : undefined;
  const arrived = watching?.arrived ?? new Set<RefSource>();
  const isReady = ({ source }: ObjectRef): boolean => arrived.has(source) || source.isReady(fetchLocal);
  const ready = countUpTo(numReturns, refs, isReady);
  if (ready < numReturns)
    await arrival(clock, refs, options, numReturns, isReady, watching ?? watched(refs, fetchLocal, arrived));
  const [found, others] = split<T>(refs, numReturns, isReady);
  if (loop?.list.deref() === refs) loop.list = new WeakRef(others);
  return [found, others];
}

const watch = new SettleWatch();
/** Lists that `wait` gave, with their lengths: a loop that waits for what is pending, one by one, need not be checked each time. */
const uniqueLists = new WeakMap<readonly ObjectRef[], number>();

/** What the latest wait watched: when the next one is for the list that it gave, nothing is watched anew. */
interface Loop {
  list: WeakRef<readonly ObjectRef[]>;
  readonly fetchLocal: boolean;
  readonly arrived: Set<RefSource>;
  /** Waits under way. */
  readonly waits: Set<() => void>;
  readonly unwatch: () => void;
}
let loop: Loop | undefined;

function watched(list: readonly ObjectRef[], fetchLocal: boolean, arrived: Set<RefSource>): Loop {
  if (loop?.waits.size === 0) loop.unwatch();
  const pending = list.flatMap(({ source }) => (source.isReady(fetchLocal) ? [] : [source]));
  const waits = new Set<() => void>();
  const unwatch = watch.watch(pending, fetchLocal, (source) => {
    arrived.add(source);
    for (const tell of waits) tell();
  });
  loop = { list: new WeakRef(list), fetchLocal, arrived, waits, unwatch };
  return loop;
}

/** Until enough have arrived, or the time is over. */
async function arrival(
  clock: Clock,
  refs: readonly ObjectRef[],
  options: WaitOptions,
  numReturns: number,
  isReady: (ref: ObjectRef) => boolean,
  watching: Loop,
): Promise<void> {
  let missing = numReturns - countUpTo(numReturns, refs, isReady);
  let enough: () => void = () => {};
  const done = new Promise<void>((resolve) => {
    enough = resolve;
  });
  const tell = (): void => {
    if (--missing > 0) return;
    // What arrived may have been given by a wait before.
    missing = numReturns - countUpTo(numReturns, refs, isReady);
    if (missing <= 0) enough();
  };
  watching.waits.add(tell);
  try {
    if (missing > 0) await bounded(clock, done, options, () => {});
  } finally {
    watching.waits.delete(tell);
    if (watching !== loop && watching.waits.size === 0) watching.unwatch();
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
