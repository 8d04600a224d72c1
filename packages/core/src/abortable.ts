import { WhiprayError } from "./errors.ts";

/** What everything that waits takes. */
export interface AbortOptions {
  /** An abort ends the wait at once with the signal's reason. What was asked for by then is withdrawn, or undone, where that can be. */
  signal?: AbortSignal | undefined;
}

/**
 * What `start` gives, or the signal's reason as soon as it aborts; with an aborted signal nothing starts. `late` gets the work that
 * nobody waits for any more, to undo it. @throws WhiprayError `INVALID_ARGUMENT` for a signal that is none.
 */
export async function abortable<T>(
  signal: AbortSignal | undefined,
  start: () => Promise<T>,
  late: (work: Promise<T>) => void = () => {},
): Promise<T> {
  if (signal === undefined) return start();
  // By what it does: one of another realm is no instance of our class.
  if (typeof signal?.throwIfAborted !== "function") {
    const message = `signal must be an AbortSignal, as new AbortController().signal; got ${typeof signal}`;
    throw new WhiprayError({ code: "INVALID_ARGUMENT", message });
  }
  signal.throwIfAborted();
  const work = start();
  const aborted = Promise.withResolvers<never>();
  const abort = (): void => {
    aborted.reject(signal.reason);
    late(work);
  };
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
