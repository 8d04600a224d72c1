import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { daemons } from "whipray";

/** Mount, IPC, pid and host-name namespaces of their own; what runs inside ends with `unshare`. */
const UNSHARE = ["unshare", "--mount", "--ipc", "--uts", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"];

/** A command that runs another one as if on a machine of its own, or why this machine does not allow that. */
export type ForeignWrapper = { wrapper: string[]; note?: undefined } | { wrapper: []; note: string };

/**
 * Wraps a command so that it has its own processes, host name and /dev/shm, and finds the folders `hidden` empty: a path of
 * another "machine" that leaks over the wire opens nothing there.
 */
export function foreignWrapper(hostName: string, hidden: readonly string[]): ForeignWrapper {
  const tried = spawnSync(UNSHARE[0]!, [...UNSHARE.slice(1), "true"], { encoding: "utf8" });
  if (tried.status !== 0) {
    const why = tried.error?.message ?? tried.stderr.trim();
    return { wrapper: [], note: `no namespaces for ${hostName}: ${why}` };
  }
  const script = [
    'name=$1 && shift && hostname "$name"',
    "mount -t tmpfs tmpfs /dev/shm",
    'while [ "$1" != "--" ]; do mount -t tmpfs -o mode=700 tmpfs "$1"; shift; done; shift',
    'exec "$@"',
  ].join("\n");
  return { wrapper: [...UNSHARE, "sh", "-ec", script, "sh", hostName, ...hidden, "--"] };
}

/** The only child of a process; undefined while, or when, it has none. */
export function childOf(pid: number): number | undefined {
  for (const name of readdirSync("/proc")) {
    const candidate = Number(name);
    if (Number.isInteger(candidate) && daemons.parentOf(candidate) === pid) return candidate;
  }
  return undefined;
}
