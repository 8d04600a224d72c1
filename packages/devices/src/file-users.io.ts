import type { Stats } from "node:fs";
import { readlinkSync } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { type Clock, systemClock } from "@whipray/core";
import { type FileUsers, PROBE_LIMIT_MS } from "./probe.ts";

/** Open files of one process that are looked at before others have their turn. */
const FILES_PER_TURN = 256;
/** The kernel cuts a process's name here. */
const NAME_LIMIT_CHARS = 15;

export interface FileUsersOptions {
  /** Folder that stands for `/` in the paths; processes are always this machine's. */
  readonly root: string;
  /** Names of programs that are left out. */
  readonly lookers?: readonly string[];
  readonly clock?: Clock;
  /** Looking through /proc ends after this long without an answer. Default `PROBE_LIMIT_MS`. */
  readonly limitMs?: number;
}

interface WantedFile {
  readonly path: string;
  readonly stat: Stats;
}

/**
 * Which processes have one of these files open, by /proc/<pid>/fd. A device file is known by its device number, whatever name a
 * container gave it. Never rejects.
 */
export async function fileUsers(paths: readonly string[], options: FileUsersOptions): Promise<FileUsers> {
  const { root, lookers = [], clock = systemClock, limitMs = PROBE_LIMIT_MS } = options;
  const startedMs = clock.now();
  const answer = (pids: FileUsers["pids"], message = ""): FileUsers => {
    return { pids, elapsedMs: clock.now() - startedMs, message };
  };
  const wanted = await filesByName(paths, root);
  const found = new Map<string, number[]>();
  if (wanted.size === 0) return answer(found);
  const names = new Set(lookers.map((name) => name.slice(0, NAME_LIMIT_CHARS)));
  try {
    for (const entry of await readdir("/proc")) {
      if (!/^\d+$/.test(entry)) continue;
      if (clock.now() - startedMs >= limitMs) {
        return answer(undefined, `/proc could not be looked through within ${limitMs} ms`);
      }
      const opened = await openedBy(entry, wanted);
      if (opened.length === 0 || names.has(await nameOf(entry))) continue;
      for (const path of opened)
        found.set(
          path,
          [...(found.get(path) ?? []), Number(entry)].sort((a, b) => a - b),
        );
    }
  } catch (error) {
    return answer(undefined, `/proc cannot be read: ${(error as Error).message}`);
  }
  return answer(found);
}

/** Files that are there, by the last part of their names: so that of all open files few are looked at closely. */
async function filesByName(paths: readonly string[], root: string): Promise<Map<string, WantedFile[]>> {
  const wanted = new Map<string, WantedFile[]>();
  for (const path of new Set(paths)) {
    const known = await stat(join(root, path)).catch(() => undefined);
    const name = basename(path);
    if (known) wanted.set(name, [...(wanted.get(name) ?? []), { path, stat: known }]);
  }
  return wanted;
}

/** Of these files, those that a process has open; none of a process that is gone, or that this user may not look at. */
async function openedBy(pid: string, wanted: ReadonlyMap<string, readonly WantedFile[]>): Promise<string[]> {
  const folder = `/proc/${pid}/fd`;
  const numbers = await readdir(folder).catch(() => []);
  const opened = new Set<string>();
  for (const [at, number] of numbers.entries()) {
    if (at > 0 && at % FILES_PER_TURN === 0) await setImmediate();
    const files = wanted.get(basename(targetOf(`${folder}/${number}`)));
    if (!files) continue;
    const open = await stat(`${folder}/${number}`).catch(() => undefined);
    for (const file of files) if (open && isSame(open, file.stat)) opened.add(file.path);
  }
  return [...opened];
}

/** Where a descriptor leads; read at once, since thousands of promises would cost more than the calls. Empty when it is closed by now. */
function targetOf(descriptor: string): string {
  try {
    return readlinkSync(descriptor);
  } catch {
    return "";
  }
}

function isSame(open: Stats, wanted: Stats): boolean {
  if (wanted.isCharacterDevice()) return open.isCharacterDevice() && open.rdev === wanted.rdev;
  return open.dev === wanted.dev && open.ino === wanted.ino;
}

async function nameOf(pid: string): Promise<string> {
  return (await readFile(`/proc/${pid}/comm`, "utf8").catch(() => "")).trim();
}
