import { closeSync, constants, fstatSync, lstatSync, openSync, readSync, type Stats } from "node:fs";
import { type LockOwner, parseLockOwner } from "./lock-table.ts";

/** Bytes of a lock file that are read: a guard's name is far shorter. */
const OWNER_LIMIT_BYTES = 4_096;
const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;

export interface LockFile {
  readonly stats: Stats;
  /** Whose guard wrote its name there last. */
  readonly owner: LockOwner | undefined;
}

/**
 * The lock file of a device, in a folder where any user may have put anything: what is no plain file is none, so that neither a link is
 * followed nor a pipe waited for. Undefined when there is none.
 */
export function lockFile(path: string): LockFile | undefined {
  let descriptor: number;
  try {
    descriptor = openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  } catch {
    // Another user's that we may not read can be locked all the same.
    const stats = lstatSync(path, { throwIfNoEntry: false });
    return stats?.isFile() ? { stats, owner: undefined } : undefined;
  }
  try {
    const stats = fstatSync(descriptor);
    if (!stats.isFile()) return undefined;
    const text = Buffer.alloc(OWNER_LIMIT_BYTES);
    const bytes = readSync(descriptor, text, 0, OWNER_LIMIT_BYTES, 0);
    return { stats, owner: parseLockOwner(text.toString("utf8", 0, bytes)) };
  } finally {
    closeSync(descriptor);
  }
}
