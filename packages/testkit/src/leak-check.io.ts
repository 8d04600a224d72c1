import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Clock, delay, systemClock } from "@whipray/core";
import { diff, type Leak, type LeakScope, newSessions, type ProcessSeen, type Snapshot } from "./leak-check.ts";
import {
  parseEnviron,
  parseNamespaceMounts,
  parseStat,
  parseTcpListeners,
  parseUnixListeners,
} from "./leak-check-proc.ts";
import { linkPrefix } from "./network-plan.ts";

/** What the check looks at beside the whole of /proc. */
export interface LeakPlaces {
  /** Runtime directories: every file, socket and holder below them counts. Absolute paths. */
  directories?: readonly string[];
  /** Paths below `directories` that outlive every cluster by design: the host's device locks and port table. */
  shared?: readonly string[];
  /**
   * Names in /dev/shm, /tmp and of abstract sockets that start so count. Default `["whipray"]`; with a `clusterId` only
   * that cluster's, `["whipray-<clusterId>"]`, since tests run beside each other.
   */
  prefixes?: readonly string[];
  /** Processes of these sessions are reported although nothing marks them. */
  sessions?: readonly number[];
  /**
   * Network interfaces whose names start so count. Default none; with a `clusterId` those of that cluster's nodes, which lead to
   * network namespaces of their own.
   */
  links?: readonly string[];
  /** Network namespaces (`net:[…]`) in which no process may be, and which nobody may hold open or mounted. */
  namespaces?: readonly string[];
}

/** How long and how often `waitUntilClean` looks. */
export interface CleanWait extends LeakPlaces, LeakScope {
  /** Milliseconds until what is left is called a leak. */
  deadlineMs: number;
  /** Milliseconds between two looks, default 100. */
  pollMs?: number;
  clock?: Clock;
}

const POLL_MS = 100;
/** A directory tree deeper than this is no runtime directory of ours. */
const DEPTH_LIMIT = 16;

/**
 * Looks at this machine from outside, through /proc alone: it does not ask the cluster, so a broken cluster cannot hide
 * anything. Processes of other users can be seen but not searched. Linux only.
 */
export function snapshot(places: LeakPlaces = {}): Snapshot {
  const { directories = [], prefixes = ["whipray"], sessions = [], shared = [], links = [], namespaces = [] } = places;
  const roots = [...new Set(["/dev/shm", "/tmp", tmpdir()])].flatMap((root) =>
    prefixes.map((name) => join(root, name)),
  );
  const watched: Watched = {
    hints: [...roots, ...directories],
    has: (path) =>
      namespaces.includes(path) ||
      roots.some((root) => path.startsWith(root)) ||
      directories.some((dir) => path === dir || path.startsWith(`${dir}/`)),
  };
  const isAbstract = (path: string): boolean => prefixes.some((name) => path.startsWith(`@${name}`));
  const isShared = (path: string): boolean => shared.some((one) => path === one || path.startsWith(`${one}/`));
  const files = [...roots.flatMap(withPrefix), ...directories.flatMap((directory) => below(directory, 0))];
  const networks = networksNow();
  const unix = networks.flatMap((network) => parseUnixListeners(read(`${network}/unix`) ?? ""));
  const mounts = parseNamespaceMounts(read("/proc/self/mountinfo") ?? "");
  return {
    processes: processes(watched, new Set(sessions), networks),
    sockets: unix.filter((path) => watched.has(path) || isAbstract(path)).sort(),
    files: [
      ...files.filter((path) => !isShared(path)),
      ...mounts.filter(({ namespace }) => namespaces.includes(namespace)).map(({ path }) => path),
    ].sort(),
    links: list("/sys/class/net").filter((name) => links.some((prefix) => name.startsWith(prefix))),
  };
}

/**
 * Looks until nothing is left of what came after `before`, or until the deadline.
 * @returns what is left; empty when clean
 */
export async function waitUntilClean(before: Snapshot, wait: CleanWait): Promise<Leak[]> {
  const { deadlineMs, pollMs = POLL_MS, clock = systemClock } = wait;
  const scope = narrowed(wait);
  const giveUpAt = clock.now() + deadlineMs;
  for (;;) {
    const left = diff(before, snapshot(scope), scope);
    if (left.length === 0 || clock.now() >= giveUpAt) return left;
    await delay(clock, Math.min(pollMs, Math.max(1, giveUpAt - clock.now())));
  }
}

/** Sessions of the cluster's processes right now; hand them to `waitUntilClean` after the cluster ended. */
export function sessionsNow(before: Snapshot, scope: LeakPlaces & LeakScope = {}): number[] {
  const narrow = narrowed(scope);
  return newSessions(before, snapshot(narrow), narrow);
}

function narrowed<T extends LeakPlaces & LeakScope>(scope: T): T {
  const { clusterId, ignorePids = [] } = scope;
  const prefixes = scope.prefixes ?? [clusterId === undefined ? "whipray" : `whipray-${clusterId}`];
  const links = scope.links ?? (clusterId === undefined ? [] : [linkPrefix(clusterId)]);
  return { ...scope, prefixes, links, ignorePids: [...ignorePids, process.pid] };
}

/** Paths that count. A text with none of the hints in it has no such path: most of /proc is dismissed so. */
interface Watched {
  hints: string[];
  has(path: string): boolean;
}

/** A folder of /proc for each network namespace that a process of this machine is in: each has its own sockets. */
function networksNow(): string[] {
  const folders = new Map([[link("/proc/self/ns/net"), "/proc/net"]]);
  for (const name of list("/proc").filter((one) => Number.isInteger(Number(one)))) {
    const namespace = link(`/proc/${name}/ns/net`);
    if (namespace !== undefined && !folders.has(namespace)) folders.set(namespace, `/proc/${name}/net`);
  }
  return [...folders.values()];
}

function processes(watched: Watched, sessions: ReadonlySet<number>, networks: readonly string[]): ProcessSeen[] {
  const tables = networks.flatMap((network) => [`${network}/tcp`, `${network}/tcp6`]);
  const listeners = tables.flatMap((path) => parseTcpListeners(read(path) ?? ""));
  const portOf = new Map(listeners.map(({ inode, port }) => [`socket:[${inode}]`, port]));
  const seen: ProcessSeen[] = [];
  for (const name of list("/proc")) {
    const pid = Number(name);
    const stat = Number.isInteger(pid) ? parseStat(read(`/proc/${pid}/stat`) ?? "") : undefined;
    if (stat === undefined) continue;
    const environ = parseEnviron(read(`/proc/${pid}/environ`) ?? "");
    const marks = Object.fromEntries([...environ].filter(([key]) => key.startsWith("WHIPRAY_")));
    const opened = list(`/proc/${pid}/fd`).map((fd) => link(`/proc/${pid}/fd/${fd}`) ?? "");
    const places = [link(`/proc/${pid}/cwd`) ?? "", link(`/proc/${pid}/ns/net`) ?? ""];
    const holds = [...new Set([...places, ...opened, ...mapped(pid, watched)])].filter(watched.has);
    if (Object.keys(marks).length === 0 && holds.length === 0 && !sessions.has(stat.session)) continue;
    const ports = opened.map((target) => portOf.get(target)).filter((port) => port !== undefined);
    const cmdline = (read(`/proc/${pid}/cmdline`) ?? "").replaceAll("\0", " ").trim();
    const command = cmdline || `[${(read(`/proc/${pid}/comm`) ?? "").trim()}]`;
    seen.push({ pid, ...stat, cmdline: command, marks, holds, ports });
  }
  return seen;
}

/** Mapped files, which stay held after their descriptor was closed. */
function mapped(pid: number, watched: Watched): string[] {
  const maps = read(`/proc/${pid}/maps`) ?? "";
  if (!watched.hints.some((hint) => maps.includes(hint))) return [];
  return maps
    .split("\n")
    .map((line) => /\s(\/.*?)(?: \(deleted\))?$/.exec(line)?.[1] ?? "")
    .filter((path) => path !== "");
}

/** Entries beside `prefix` that start with its last part, and all that lies below them. */
function withPrefix(prefix: string): string[] {
  const folder = prefix.slice(0, prefix.lastIndexOf("/"));
  const paths = list(folder).map((name) => join(folder, name));
  return paths.filter((path) => path.startsWith(prefix)).flatMap((path) => [path, ...below(path, 0)]);
}

function below(directory: string, depth: number): string[] {
  if (depth >= DEPTH_LIMIT) return [];
  try {
    return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
      const path = join(directory, entry.name);
      return entry.isDirectory() ? [path, ...below(path, depth + 1)] : [path];
    });
  } catch (error) {
    return vanished(error, []);
  }
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    return vanished(error, []);
  }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    return vanished(error, undefined);
  }
}

function link(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch (error) {
    return vanished(error, undefined);
  }
}

/** Processes and files end while we look, other users' are closed to us, and a zombie has no environment. */
function vanished<T>(error: unknown, instead: T): T {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  if (["ENOENT", "ESRCH", "EACCES", "EPERM", "ENOTDIR", "EINVAL"].includes(code)) return instead;
  throw error;
}
