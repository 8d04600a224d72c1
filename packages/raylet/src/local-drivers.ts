import type { Clock } from "@whipray/core";

/** A driver of this machine that has no connection for this long is gone: a unix socket breaks only when one side ends. */
export const LOCAL_DRIVER_GONE_MS = 2_000;

/** Drivers that dialled our unix socket: noticed long before their sessions give up when they are killed. */
export class LocalDrivers {
  readonly #clock: Clock;
  readonly #gone: (address: string) => void;
  readonly #links = new Map<string, { count: number; unix: boolean }>();

  constructor(clock: Clock, gone: (address: string) => void) {
    this.#clock = clock;
    this.#gone = gone;
  }

  /** One of its links was let in; `unix` when it came by our socket. */
  linked(address: string, unix: boolean): void {
    const known = this.#links.get(address) ?? { count: 0, unix: false };
    known.count++;
    known.unix ||= unix;
    this.#links.set(address, known);
  }

  /** One of its links ended. Those that were never `linked` do not count. */
  lost(address: string): void {
    const known = this.#links.get(address);
    if (!known || --known.count > 0) return;
    this.#clock.after(LOCAL_DRIVER_GONE_MS, () => {
      if (known.count > 0) return;
      this.#links.delete(address);
      if (known.unix) this.#gone(address);
    });
  }
}
