/** One flock that the kernel shows in /proc/locks. */
export interface HeldLock {
  readonly pid: number;
  readonly exclusive: boolean;
  /** Number of the file on its file system. */
  readonly inode: number;
}

const LOCK_LINE = /^\d+: FLOCK\s+ADVISORY\s+(READ|WRITE)\s+(-?\d{1,10}) [0-9a-f]+:[0-9a-f]+:(\d{1,20}) /;

/** Reads /proc/locks; waiters (`->`) and locks of other kinds are left out. A pid below 1 is of another pid namespace. */
export function parseLocks(text: string): HeldLock[] {
  const locks: HeldLock[] = [];
  for (const line of text.split("\n")) {
    const match = LOCK_LINE.exec(line);
    if (match) locks.push({ pid: Number(match[2]), exclusive: match[1] === "WRITE", inode: Number(match[3]) });
  }
  return locks;
}

/** What a guard writes into the lock file that it holds (GUARD.md). */
export interface LockOwner {
  readonly cluster: string;
  readonly node: string;
  /** Incarnation of its raylet. */
  readonly raylet: string;
  readonly lease: string;
  readonly pid: number;
}

/** Other users write here too: what people read must not move their terminals. */
const NAME = /^[\w.:-]{1,128}$/;

/** What the first line of a lock file says. Undefined for anything else than a guard's own. */
export function parseLockOwner(text: string): LockOwner | undefined {
  try {
    return lockOwner(JSON.parse(text.split("\n", 1)[0]!));
  } catch {
    return undefined;
  }
}

/** A guard's name, or undefined for anything else. */
export function lockOwner(value: unknown): LockOwner | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { cluster, node, raylet, lease, pid } = value as Record<string, unknown>;
  const named = [cluster, node, raylet, lease].every((one) => typeof one === "string" && NAME.test(one));
  return named && Number.isSafeInteger(pid) ? ({ cluster, node, raylet, lease, pid } as LockOwner) : undefined;
}
