import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { delay, systemClock } from "@whipray/core";
import { daemons } from "whipray";
import { Deadline } from "../../../scripts/vitest/deadline.ts";

/** Waits for what comes by itself. @throws Error naming `what` after the deadline, which begins now unless it is one that runs already. */
export async function until(
  what: string,
  limit: number | Deadline,
  holds: () => boolean | Promise<boolean>,
): Promise<void> {
  const deadline = typeof limit === "number" ? new Deadline(limit) : limit;
  while (!(await holds())) {
    if (deadline.over)
      throw new Error(`not within ${deadline.ms} ms (${Math.round(deadline.passedMs)} passed): ${what}`);
    await delay(systemClock, 25);
  }
}

/** A process that is there and no zombie. */
export function runs(pid: number): boolean {
  return existsSync(`/proc/${pid}`) && !/^State:\s+Z/m.test(text(`/proc/${pid}/status`));
}

/** As `runs`, for all of them. */
export function anyRuns(pids: readonly number[]): boolean {
  return pids.some(runs);
}

/**
 * The process that calls itself `inner` in the pid namespace of `member`, as this process sees it.
 * @throws Error when there is none
 */
export function outsidePid(inner: number, member: number): number {
  const namespace = readlinkSync(`/proc/${member}/ns/pid`);
  for (const pid of pids()) {
    const known = /^NSpid:\s+(.*)$/m.exec(text(`/proc/${pid}/status`))?.[1]?.split(/\s+/);
    if (Number(known?.at(-1)) === inner && link(`/proc/${pid}/ns/pid`) === namespace) return pid;
  }
  throw new Error(`nobody calls itself ${inner} beside process ${member}`);
}

export function parentOf(pid: number): number {
  const parent = daemons.parentOf(pid);
  if (parent === undefined) throw new Error(`process ${pid} is gone`);
  return parent;
}

/** Everything that carries a cluster's mark, from outside: the cluster is not asked. */
export function processesOf(clusterId: string): number[] {
  return marked(`WHIPRAY_CLUSTER=${clusterId}`);
}

/** Every process with this in its environment, as `NAME=value`. */
export function marked(mark: string): number[] {
  return pids().filter((pid) => environ(pid).includes(mark));
}

/** Those of them that belong to a lease: Python engines, and what these started. */
export function enginesOf(clusterId: string): number[] {
  return processesOf(clusterId).filter((pid) => environ(pid).some((one) => one.startsWith("WHIPRAY_LEASE=")));
}

function environ(pid: number): string[] {
  return text(`/proc/${pid}/environ`).split("\0");
}

function pids(): number[] {
  return readdirSync("/proc").map(Number).filter(Number.isInteger);
}

/** Empty when the process ended meanwhile. */
function text(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

function link(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}
