import type { Stats } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import type { LockHolder } from "./device-eyes.ts";
import { nameOf } from "./device-users.io.ts";
import { lockFile } from "./lock-file.io.ts";
import { type HeldLock, type LockOwner, parseLocks } from "./lock-table.ts";
import type { NodeDevice, NodeIdentity } from "./node-identity.ts";

/**
 * Who holds locks of these devices, other than the guards of this raylet (design.md, mechanism 11). It takes no lock itself: the
 * guards' own are what protects a device, this is for telling before a grant.
 */
export async function lockHolders(
  devices: readonly NodeDevice[],
  { cluster, nodeId, incarnation }: Pick<NodeIdentity, "cluster" | "nodeId" | "incarnation">,
): Promise<Map<string, LockHolder>> {
  const held = parseLocks(await readFile("/proc/locks", "utf8").catch(() => ""));
  const holders = new Map<string, LockHolder>();
  for (const { uuid, lockPath } of held.length === 0 ? [] : devices) {
    const { stats: file, owner } = lockFile(lockPath) ?? {};
    for (const lock of held) {
      if (!file || lock.inode !== file.ino || !(await isOpen(lock, file))) continue;
      const ours = owner?.cluster === cluster && owner.raylet === incarnation;
      // A shared lock is held under the name in the file; who holds it alone is a guard that is writing its name, or a stranger.
      if (ours && (!lock.exclusive || (await isGuard(lock.pid)))) continue;
      if (lock.exclusive && (await isGuard(lock.pid))) continue;
      const older = owner && !ours && owner.cluster === cluster && owner.node === nodeId;
      const named = owner && !lock.exclusive;
      const text = named ? showOwner(owner) : `pid ${lock.pid} (${await nameOf(lock.pid)})`;
      const lease = named ? { lease: true as const } : {};
      holders.set(uuid, { text, ...lease, ...(older && named && { olderIncarnation: owner.raylet }) });
      break;
    }
  }
  return holders;
}

/** Inode numbers repeat on other file systems: the process must have this very file open, as far as we may look. */
async function isOpen({ pid }: HeldLock, file: Stats): Promise<boolean> {
  if (pid < 1) return true;
  try {
    for (const fd of await readdir(`/proc/${pid}/fd`)) {
      const open = await stat(`/proc/${pid}/fd/${fd}`).catch(() => undefined);
      if (open?.ino === file.ino && open.dev === file.dev) return true;
    }
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EACCES";
  }
}

/** Whether it takes locks for a raylet. */
async function isGuard(pid: number): Promise<boolean> {
  const command = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
  return /whipray_guard\.py/.test(command);
}

function showOwner({ cluster, node, lease, pid }: LockOwner): string {
  return `${cluster} ${node}, lease ${lease} (pid ${pid})`;
}
