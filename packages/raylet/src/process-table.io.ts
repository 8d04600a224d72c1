import { closeSync, openSync, readdirSync, readSync } from "node:fs";
import { readFile } from "node:fs/promises";
import type { LookOutcome } from "./sweep-looks.ts";

/** One process as /proc shows it. */
export interface ProcessStat {
  readonly pid: number;
  readonly state: string;
  readonly parent: number;
  /** Clock ticks after boot. With the pid it names one process for ever. */
  readonly startTime: number;
}

/** Longest line of a stat file: 52 numbers and a name. */
const STAT_BYTES = 2_048;
const line = Buffer.allocUnsafe(STAT_BYTES);

/** Undefined when it is gone. A look at /proc reads one a process: three system calls, no more. */
export function statOf(pid: number): ProcessStat | undefined {
  const text = statText(pid);
  return text === undefined ? undefined : parseStat(pid, text);
}

function statText(pid: number): string | undefined {
  let file: number | undefined;
  try {
    file = openSync(`/proc/${pid}/stat`, "r");
    return line.toString("latin1", 0, readSync(file, line));
  } catch {
    return undefined;
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

/** The fields of /proc/<pid>/stat; the name in parentheses may itself hold spaces and parentheses. */
export function parseStat(pid: number, text: string): ProcessStat {
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return { pid, state: fields[0]!, parent: Number(fields[1]), startTime: Number(fields[19]) };
}

/** Whether the text of a stat file shows no address of an environment (field 50): the image of its exec is not laid out yet. */
export function isInExec(text: string): boolean {
  return text.slice(text.lastIndexOf(")") + 2).split(" ")[47] === "0";
}

/** What one look at /proc found. */
export interface MarkedProcesses extends LookOutcome {
  readonly found: readonly ProcessStat[];
}

const KERNEL_THREADS = 2;

/** Environments that are read at the same time: each waits for a thread, and one can hang with its process. */
const READS_AT_ONCE = 16;

/**
 * Other processes that were started with `variable=value` in their environment, zombies left out. Those that started before
 * `notBefore` (clock ticks after boot) are not looked at: descendants of a process are younger than it; nor are `except`, children of ours.
 */
export async function processesWith(
  variable: string,
  value: string,
  notBefore = 0,
  except: ReadonlySet<number> = NOBODY,
): Promise<MarkedProcesses> {
  const mark = Buffer.from(`\0${variable}=${value}\0`);
  const young = candidates(notBefore, except);
  const found: ProcessStat[] = [];
  let [unclear, vanished] = [false, false];
  const look = async (before: ProcessStat): Promise<void> => {
    // Those of other users cannot be read, and are not ours.
    const read = () => readFile(`/proc/${before.pid}/environ`).catch(() => undefined);
    let environment = await read();
    // Empty: of the image that an exec has just replaced, of the one that it makes, or really so (`env -i`).
    if (environment?.length === 0) environment = await read();
    if (environment?.length === 0 && isInExec(statText(before.pid) ?? "")) unclear = true;
    if (!environment && !statOf(before.pid)) vanished = true;
    if (!environment || !Buffer.concat([Buffer.of(0), environment, Buffer.of(0)]).includes(mark)) return;
    if (statOf(before.pid)?.startTime === before.startTime) found.push(before);
  };
  for (let at = 0; at < young.length; at += READS_AT_ONCE)
    await Promise.all(young.slice(at, at + READS_AT_ONCE).map(look));
  return { found, unclear, vanished };
}

const NOBODY: ReadonlySet<number> = new Set();

function candidates(notBefore: number, except: ReadonlySet<number>): ProcessStat[] {
  const young: ProcessStat[] = [];
  // At once: a turn of the thread pool takes longer than the read.
  for (const name of readdirSync("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    const before = statOf(pid);
    if (!before || before.state === "Z" || before.state === "X" || before.startTime < notBefore) continue;
    if (before.parent === KERNEL_THREADS || pid === KERNEL_THREADS) continue;
    if (before.parent === process.pid && except.has(pid)) continue;
    young.push(before);
  }
  return young;
}
