import { writeSync } from "node:fs";
import { type Clock, systemClock, type Timer } from "@whipray/core";

/** How long a terminal that takes no more keys is left alone. */
const RETRY_MS = 20;

/**
 * Writes keys to the master side of a pseudo-terminal, in order, no more than it takes. libuv treats such a descriptor as a blocking one and
 * spins in `write` until somebody reads, so what node-pty would do with a paste that its process does not read stops the whole
 * raylet (measured on libuv 1.52). The descriptor is non-blocking: one `write` takes what fits, and the rest is tried again.
 */
export class KeyPipe {
  readonly #fd: number;
  readonly #clock: Clock;
  readonly #waiting: { keys: Uint8Array; taken: () => void }[] = [];
  #retry: Timer | undefined;
  #closed = false;

  constructor(fd: number, clock: Clock = systemClock) {
    this.#fd = fd;
    this.#clock = clock;
  }

  /** Resolves when all of it was taken, or nothing will be any more. */
  write(keys: Uint8Array): Promise<void> {
    if (this.#closed || keys.length === 0) return Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.push({ keys, taken: resolve });
    if (this.#waiting.length === 1) this.#send();
    return promise;
  }

  /** The descriptor is about to be another file's. */
  close(): void {
    this.#closed = true;
    this.#retry?.cancel();
    for (const { taken } of this.#waiting.splice(0)) taken();
  }

  #send(): void {
    for (let next = this.#waiting[0]; next; next = this.#waiting[0]) {
      const bytes = this.#offer(next.keys);
      if (bytes < next.keys.length) {
        next.keys = next.keys.subarray(bytes);
        this.#retry = this.#clock.after(RETRY_MS, () => this.#send());
        return;
      }
      this.#waiting.shift();
      next.taken();
    }
  }

  #offer(keys: Uint8Array): number {
    try {
      return writeSync(this.#fd, keys);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "EAGAIN" || code === "EINTR") return 0;
      return keys.length; // EIO: the process closed its side, and its end follows
    }
  }
}
