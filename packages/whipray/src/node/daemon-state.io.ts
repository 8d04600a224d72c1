import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { ErrorWire } from "@whipray/core";
import type { DaemonConfig } from "./daemon-config.ts";

/** How a daemon is, as it says itself in its state file. A pid counts only together with its start time. */
export interface DaemonState {
  kind: DaemonConfig["kind"];
  /** `starting` also while a raylet tries to reach its head. */
  state: "starting" | "ready" | "failed";
  pid: number;
  /** Clock ticks after boot (/proc/<pid>/stat). */
  startTime: number;
  clusterId?: string | undefined;
  nodeId?: string | undefined;
  /** Of its TCP port. */
  url?: string | undefined;
  /** Of its unix socket. */
  unixUrl?: string | undefined;
  /** Of the head that a raylet belongs to. */
  headUrl?: string | undefined;
  /** A head's directory. */
  directory?: string | undefined;
  insecurePlaintext?: boolean | undefined;
  /** The imagined machine whose devices a raylet offers. */
  fakeDevices?: string | undefined;
  /** Why it failed, or is not ready yet. */
  error?: ErrorWire | undefined;
}

/** Start time of a process; undefined when it is gone. */
export function processStartTime(pid: number | "self"): number | undefined {
  const fields = statFields(pid);
  return fields ? Number(fields[19]) : undefined;
}

/** The parent of a process; undefined when the process is gone. */
export function parentOf(pid: number): number | undefined {
  const fields = statFields(pid);
  return fields ? Number(fields[1]) : undefined;
}

function statFields(pid: number | "self"): string[] | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, "latin1");
  } catch {
    return undefined;
  }
  // The name in parentheses may itself hold spaces and parentheses.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return fields[0] === "Z" || fields[0] === "X" ? undefined : fields;
}

/** Whether this very process, not another of the same number, still runs. */
export function daemonRuns({ pid, startTime }: Pick<DaemonState, "pid" | "startTime">): boolean {
  return processStartTime(pid) === startTime;
}

/** Replaces the file at once: a reader sees the old or the new text, never half of it. */
export function writeFileAtomic(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  writeFileSync(`${path}.new`, text, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

export function writeDaemonState(path: string, state: DaemonState): void {
  writeFileAtomic(path, `${JSON.stringify(state)}\n`);
}

/** Undefined when there is none, or it is not one of ours. */
export function readDaemonState(path: string): DaemonState | undefined {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, "utf8"));
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { kind, pid, startTime } = value as Record<string, unknown>;
  const ours = (kind === "head" || kind === "raylet") && Number.isSafeInteger(pid) && Number.isSafeInteger(startTime);
  return ours ? (value as DaemonState) : undefined;
}

/** Folder of the state files of this user's background daemons, below the runtime root. */
export function daemonsFolder(runtimeRoot: string): string {
  return join(runtimeRoot, "daemons");
}

/** Every daemon that a state file of this folder tells of, dead ones too. */
export function listDaemons(folder: string): { path: string; state: DaemonState }[] {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch (error) {
    // What cannot be looked at is not "nothing": a stop must not say that nothing runs there.
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
  const paths = names.filter((name) => name.endsWith(".json")).map((name) => join(folder, name));
  return paths.flatMap((path) => {
    const state = readDaemonState(path);
    return state ? [{ path, state }] : [];
  });
}

export function removeFile(path: string): void {
  rmSync(path, { force: true });
}
