import { closeSync, constants, openSync, readFileSync, readlinkSync, readSync } from "node:fs";
import { uptime } from "node:os";
import type { MemoryKillSource } from "./memory-kills.ts";

/** The pid namespace of the machine itself, whose numbers the kernel's log has. */
const FIRST_PID_NAMESPACE = "pid:[4026531836]";
const LOG = "/dev/kmsg";
const RECORD_BYTES = 8_192;
/** Records that one look reads at most; the kernel keeps some thousand. */
const RECORDS_LIMIT = 50_000;
/** A record that is older is of another process of that number. */
const RECENT_SECONDS = 60;
const KILLED = /^\d+,\d+,(\d+),[^;]*;.*Killed process (\d+) \(/;

/** What the kernel of this machine tells: how many it ended to everybody, whom it ended to those who may read its log. */
export const kernelMemoryKills: MemoryKillSource = {
  count() {
    try {
      const count = /^oom_kill (\d+)$/m.exec(readFileSync("/proc/vmstat", "latin1"))?.[1];
      return count === undefined ? undefined : Number(count);
    } catch {
      return undefined;
    }
  },
  took(pid) {
    try {
      if (readlinkSync("/proc/self/ns/pid") !== FIRST_PID_NAMESPACE) return undefined;
      return recentlyKilled().has(pid);
    } catch {
      return undefined; // we may not read it
    }
  },
};

function recentlyKilled(): Set<number> {
  const killed = new Set<number>();
  const log = openSync(LOG, constants.O_RDONLY | constants.O_NONBLOCK);
  const record = Buffer.allocUnsafe(RECORD_BYTES);
  const since = (uptime() - RECENT_SECONDS) * 1e6;
  try {
    for (let at = 0; at < RECORDS_LIMIT; at++) {
      const text = readRecord(log, record);
      if (text === undefined) break;
      const [, microseconds, pid] = KILLED.exec(text) ?? [];
      if (Number(microseconds) >= since) killed.add(Number(pid));
    }
    return killed;
  } finally {
    closeSync(log);
  }
}

/** The next one; undefined behind the last, empty for one that was overwritten meanwhile. */
function readRecord(log: number, record: Buffer): string | undefined {
  try {
    return record.toString("latin1", 0, readSync(log, record));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EPIPE") return "";
    if (code === "EAGAIN") return undefined;
    throw error;
  }
}
