import { systemClock, WhiprayError } from "@whipray/core";
import type { DialOptions } from "./transport.ts";

/** How long a dial may take unless its options say otherwise. */
export const DIAL_TIMEOUT_MS = 10_000;

/** One attempt to connect: the first of succeed, fail, timeout and abort counts. */
export interface Dialing<T> {
  succeed(result: T): void;
  /** Errors that are no WhiprayError become `UNREACHABLE` (retryable). */
  fail(error: Error): void;
}

/**
 * Runs one attempt with its deadline and signal.
 *
 * @param begin Starts connecting; gives what undoes it when the attempt does not succeed.
 * @throws WhiprayError `UNREACHABLE` (retryable), `TIMEOUT` (retryable), `CANCELLED`, or what `fail` was given.
 */
export function dialing<T>(url: string, options: DialOptions, begin: (attempt: Dialing<T>) => () => void): Promise<T> {
  const { signal, timeoutMs = DIAL_TIMEOUT_MS } = options;
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(cancelled(url, signal));
      return;
    }
    let settled = false;
    let failed = false;
    let undo: (() => void) | undefined;
    const settle = (): boolean => {
      if (settled) return false;
      settled = true;
      timer.cancel();
      signal?.removeEventListener("abort", onAbort);
      return true;
    };
    const attempt: Dialing<T> = {
      succeed(result) {
        if (settle()) resolve(result);
      },
      fail(error) {
        if (!settle()) return;
        failed = true;
        reject(error instanceof WhiprayError ? error : unreachable(url, error));
        undo?.();
      },
    };
    const onAbort = (): void => attempt.fail(cancelled(url, signal!));
    const timer = systemClock.after(
      timeoutMs,
      () =>
        attempt.fail(
          new WhiprayError({
            code: "TIMEOUT",
            message: `${url} did not answer within ${timeoutMs} ms`,
            retryable: true,
            details: { url, timeoutMs },
          }),
        ),
      { keepAlive: true },
    );
    signal?.addEventListener("abort", onAbort);
    const stop = begin(attempt);
    if (failed) stop();
    else undo = stop;
  });
}

function unreachable(url: string, error: Error): WhiprayError {
  return new WhiprayError({
    code: "UNREACHABLE",
    message: `Cannot connect to ${url}: ${error.message || String((error as NodeJS.ErrnoException).code)}`,
    retryable: true,
    details: { url },
    cause: error,
  });
}

function cancelled(url: string, signal: AbortSignal): WhiprayError {
  return new WhiprayError({ code: "CANCELLED", message: `Dialling ${url} was cancelled`, cause: signal.reason });
}

export function invalidAddress(url: string, rule: string): WhiprayError {
  const shown = url.slice(0, 200);
  return new WhiprayError({
    code: "INVALID_ADDRESS",
    message: `The address ${shown} ${rule}`,
    details: { address: shown },
  });
}
