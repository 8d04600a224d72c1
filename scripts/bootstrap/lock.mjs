import { linkSync, readFileSync, rmSync, statSync, unlinkSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { Complaint } from "./complaint.mjs";

const POLL_MS = 200;
/** Breaking a dead holder's lock takes microseconds; a breaker older than this died in between. */
const BREAKER_LIFE_MS = 10_000;

/**
 * Runs `work` while no other process of this machine holds `path`. A holder that died is recognised by pid and start
 * time, and its lock is broken by one waiter only.
 * @template T
 * @param {string} path
 * @param {number} waitMs
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function withLock(path, waitMs, work) {
  const giveUpAt = performance.now() + waitMs;
  let told = false;
  while (!take(path)) {
    const holder = read(path);
    if (holder !== undefined && !isAlive(holder)) breakLock(path);
    else {
      if (performance.now() > giveUpAt)
        throw new Complaint(`another start (pid ${holder?.pid}) holds ${path} since ${waitMs / 1000} s.`);
      if (!told && holder) console.error(`whipray: waiting for another start (pid ${holder.pid}) to finish the set-up`);
      told = true;
      await sleep(POLL_MS);
    }
  }
  const release = () => rmSync(path, { force: true });
  process.once("exit", release);
  try {
    return await work();
  } finally {
    process.removeListener("exit", release);
    release();
  }
}

/** The file appears with its content in one step (link), so nobody reads half a lock. @param {string} path */
function take(path) {
  const own = `${path}.${process.pid}`;
  writeFileSync(own, JSON.stringify({ pid: process.pid, startedAt: startOf(process.pid) }));
  try {
    linkSync(own, path);
    return true;
  } catch (error) {
    if (codeOf(error) === "EEXIST") return false;
    throw error;
  } finally {
    unlinkSync(own);
  }
}

/** @param {string} path */
function breakLock(path) {
  const breaker = `${path}.breaker`;
  try {
    writeFileSync(breaker, String(process.pid), { flag: "wx" });
  } catch (error) {
    if (codeOf(error) !== "EEXIST") throw error;
    if (ageMs(breaker) > BREAKER_LIFE_MS) rmSync(breaker, { force: true });
    return;
  }
  try {
    const holder = read(path);
    if (holder !== undefined && !isAlive(holder)) rmSync(path, { force: true });
  } finally {
    rmSync(breaker, { force: true });
  }
}

/** @param {string} path @returns {{ pid: number, startedAt: string } | undefined} */
function read(path) {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** @param {{ pid: number, startedAt: string }} holder */
function isAlive(holder) {
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    return codeOf(error) === "EPERM";
  }
  return startOf(holder.pid) === holder.startedAt;
}

/** The kernel's start time of a process: a reused pid differs. Empty where /proc is missing. @param {number} pid */
function startOf(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "";
  } catch {
    return "";
  }
}

/** @param {string} path */
function ageMs(path) {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat ? Date.now() - stat.mtimeMs : 0;
}

/** @param {unknown} error */
function codeOf(error) {
  return error instanceof Error && "code" in error ? error.code : undefined;
}
