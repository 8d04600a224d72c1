/** Bytes of unpacked packages that a node keeps although nothing runs in them. */
export const IDLE_PACKAGES_LIMIT_BYTES = 1_073_741_824;

interface Kept {
  users: number;
  /** Undefined while it is being made. */
  weight: number | undefined;
}

/**
 * Which of the folders that were made for several users stay: those in use, and of the others the last used, up to a weight (bytes of
 * packages, or 1 each). Pure.
 */
export class KeepCache {
  readonly #limit: number;
  /** Those that were used last come last. */
  readonly #kept = new Map<string, Kept>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** One more user. True when it has to be made first. */
  use(name: string): boolean {
    const kept = this.#kept.get(name) ?? { users: 0, weight: undefined };
    const absent = !this.#kept.has(name);
    kept.users++;
    this.#kept.set(name, kept);
    return absent;
  }

  made(name: string, weight: number): void {
    const kept = this.#kept.get(name);
    if (kept) kept.weight = weight;
  }

  /** It could not be made: the next user tries again. */
  failed(name: string): void {
    this.#kept.delete(name);
  }

  /** One user less. Answers with what is to be removed. */
  leave(name: string): string[] {
    const kept = this.#kept.get(name);
    if (!kept) return [];
    kept.users--;
    this.#kept.delete(name);
    this.#kept.set(name, kept);
    const idle = [...this.#kept].flatMap(([one, { users, weight }]) => {
      return users === 0 && weight !== undefined ? [[one, weight] as const] : [];
    });
    let left = idle.reduce((sum, [, weight]) => sum + weight, 0);
    const removed: string[] = [];
    for (const [oldest, weight] of idle) {
      if (left <= this.#limit) break;
      left -= weight;
      this.#kept.delete(oldest);
      removed.push(oldest);
    }
    return removed;
  }
}
