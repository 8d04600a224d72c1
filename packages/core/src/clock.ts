/** Handle of a running timer. */
export interface Timer {
  /** Stops the timer; stopping twice, or after it fired, does nothing. */
  cancel(): void;
}

/** Time comes in through this interface, never from `Date.now` or `setTimeout`. */
export interface Clock {
  /** Monotonic milliseconds since some fixed start: never jumps with the wall clock. For deadlines and leases. */
  now(): number;
  /** Wall time, milliseconds since 1970. For logs and humans only. */
  wallMs(): number;
  /** Runs `callback` once after `delayMs` (any finite length ≥ 0; longer than 2^31 ms is chained). */
  after(delayMs: number, callback: () => void, options?: { keepAlive?: boolean }): Timer;
}

/** Node's timers overflow to 1 ms above this; longer waits are chained. */
export const LONGEST_TIMER_MS = 2_147_483_647;

/** The real clock. Timers do not keep the process alive unless `keepAlive` is asked for. */
export const systemClock: Clock = {
  now: () => performance.now(),
  wallMs: () => Date.now(),
  after(delayMs, callback, options) {
    let remainingMs = Math.max(0, delayMs);
    let handle: NodeJS.Timeout;
    const arm = (): void => {
      const stepMs = Math.min(remainingMs, LONGEST_TIMER_MS);
      remainingMs -= stepMs;
      handle = setTimeout(() => (remainingMs > 0 ? arm() : callback()), stepMs);
      if (!options?.keepAlive) handle.unref();
    };
    arm();
    return { cancel: () => clearTimeout(handle) };
  },
};

/** `after` as a promise. */
export function delay(clock: Clock, delayMs: number): Promise<void> {
  return new Promise((resolve) => clock.after(delayMs, resolve, { keepAlive: true }));
}
