/** Bytes of unpacked packages that a node keeps although nothing runs in them. */
export const IDLE_PACKAGES_LIMIT_BYTES = 1_073_741_824;

interface Kept {
  users: number;
  /** Undefined while it is being made. */
  bytes: number | undefined;
}

/** Which of the packages unpacked on this node stay: those in use, and of the others the last used, up to a number of bytes. Pure. */
export class PackageCache {
  readonly #limitBytes: number;
  /** Those that were used last come last. */
  readonly #kept = new Map<string, Kept>();

  constructor(limitBytes = IDLE_PACKAGES_LIMIT_BYTES) {
    this.#limitBytes = limitBytes;
  }

  /** One more user. True when it has to be made first. */
  use(hash: string): boolean {
    const kept = this.#kept.get(hash) ?? { users: 0, bytes: undefined };
    const absent = !this.#kept.has(hash);
    kept.users++;
    this.#kept.set(hash, kept);
    return absent;
  }

  made(hash: string, bytes: number): void {
    const kept = this.#kept.get(hash);
    if (kept) kept.bytes = bytes;
  }

  /** It could not be made: the next user tries again. */
  failed(hash: string): void {
    this.#kept.delete(hash);
  }

  /** One user less. Answers with what is to be removed. */
  leave(hash: string): string[] {
    const kept = this.#kept.get(hash);
    if (!kept) return [];
    kept.users--;
    this.#kept.delete(hash);
    this.#kept.set(hash, kept);
    const idle = [...this.#kept].flatMap(([one, { users, bytes }]) => {
      return users === 0 && bytes !== undefined ? [[one, bytes] as const] : [];
    });
    let idleBytes = idle.reduce((sum, [, bytes]) => sum + bytes, 0);
    const removed: string[] = [];
    for (const [oldest, bytes] of idle) {
      if (idleBytes <= this.#limitBytes) break;
      idleBytes -= bytes;
      this.#kept.delete(oldest);
      removed.push(oldest);
    }
    return removed;
  }
}
