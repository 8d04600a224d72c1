/** A process as it looks from outside. */
export interface ProcessSeen {
  pid: number;
  /** With the pid the name of one process: a reused pid has another start. */
  startTicks: string;
  parentPid: number;
  session: number;
  /** The kernel's letter; "Z" is dead but not reaped. */
  state: string;
  /** Arguments, joined with spaces; the command's name in brackets for a zombie. */
  cmdline: string;
  /** Its `WHIPRAY_*` variables: what it was started with, which survives setsid, double fork and closed descriptors. */
  marks: Record<string, string>;
  /** Watched files that it has open, mapped, or as its cwd; watched network namespaces (`net:[…]`) that it is in, or has open. */
  holds: string[];
  /** TCP ports on which it listens. */
  ports: number[];
}

/** Everything on this machine that could belong to a cluster. Plain data: goes over a wire, into a file, into a test. */
export interface Snapshot {
  processes: ProcessSeen[];
  /** Listening unix sockets with a watched path; abstract ones start with `@`. */
  sockets: string[];
  /** Entries with a watched prefix in /dev/shm and the temporary folder, and all that lies below watched directories. */
  files: string[];
  /** Network interfaces of this machine with a watched prefix: the end of a veth pair shows that the namespace of the other is alive. */
  links: string[];
}

/** Whose remains count. Without a field the snapshot's difference alone decides. */
export interface LeakScope {
  /** Only processes of this cluster (`WHIPRAY_CLUSTER`), of `sessions`, or that hold watched files. */
  clusterId?: string;
  /** Sessions that were seen while the cluster ran: finds processes that wiped their environment. */
  sessions?: readonly number[];
  /**
   * Processes whose value of this variable is neither this one nor begins with it and a dot belong to somebody else's run and do not count. `unmarked` says whether
   * those without it do: yes on a machine of our own, no where others start clusters meanwhile.
   */
  run?: { variable: string; value: string; unmarked: boolean };
  /** Never a leak: the checker itself and whoever started it. */
  ignorePids?: readonly number[];
}

/** Something that is left and should not be. */
export interface Leak {
  kind: "process" | "socket" | "file" | "link";
  /** The path, the interface, or the pid for a process. */
  name: string;
  /** How it was found: which variable, session or file gave it away. */
  foundBy: string;
  process?: ProcessSeen;
}

/** What `after` has and `before` had not, within `scope`. Pure. */
export function diff(before: Snapshot, after: Snapshot, scope: LeakScope = {}): Leak[] {
  const old = new Set(before.processes.map(identity));
  const ignored = new Set(scope.ignorePids);
  const leaks: Leak[] = [];
  for (const process of after.processes) {
    if (old.has(identity(process)) || ignored.has(process.pid) || isReapedByInit(process)) continue;
    const foundBy = whyOurs(process, scope);
    if (foundBy !== undefined) leaks.push({ kind: "process", name: String(process.pid), foundBy, process });
  }
  const holders = new Set(leaks.flatMap((leak) => leak.process?.holds ?? []));
  for (const name of added(before.sockets, after.sockets)) leaks.push({ kind: "socket", name, foundBy: "listens" });
  for (const name of added(before.files, after.files)) {
    leaks.push({ kind: "file", name, foundBy: holders.has(name) ? "exists, held by a leaked process" : "exists" });
  }
  for (const name of added(before.links, after.links)) leaks.push({ kind: "link", name, foundBy: "exists" });
  return leaks;
}

/** Sessions that `now` has and `before` had not, of processes within `scope`: to be remembered while a cluster runs. */
export function newSessions(before: Snapshot, now: Snapshot, scope: LeakScope = {}): number[] {
  const old = new Set(before.processes.map((process) => process.session));
  const ours = diff(before, now, scope).map((leak) => leak.process?.session);
  return [...new Set(ours.filter((session) => session !== undefined))].filter((session) => !old.has(session));
}

/** One line a leak, for people: kind, name, how found, and for a process its parent, state, ports and arguments. */
export function describeLeaks(leaks: readonly Leak[]): string {
  const lines = leaks.map(({ kind, name, foundBy, process }) => {
    if (process === undefined) return `${kind} ${name} (${foundBy})`;
    const ports = process.ports.length > 0 ? `, listens on ${process.ports.join(", ")}` : "";
    const where = `parent ${process.parentPid}, session ${process.session}, state ${process.state}${ports}`;
    return `${kind} ${name} (${foundBy}; ${where}): ${process.cmdline}`;
  });
  return lines.join("\n");
}

function identity(process: ProcessSeen): string {
  return `${process.pid}@${process.startTicks}`;
}

/** A zombie whose parent is init is nobody's leak: a container's pid 1 may never reap. */
function isReapedByInit(process: ProcessSeen): boolean {
  return process.state === "Z" && process.parentPid === 1;
}

function whyOurs(process: ProcessSeen, scope: LeakScope): string | undefined {
  const { clusterId, sessions = [], run } = scope;
  const value = run === undefined ? undefined : process.marks[run.variable];
  if (run !== undefined && value !== undefined) {
    const ours = value === run.value || value.startsWith(`${run.value}.`);
    return ours ? `environ ${run.variable}=${value}` : undefined;
  }
  const cluster = process.marks["WHIPRAY_CLUSTER"];
  if (clusterId !== undefined && cluster === clusterId) return `environ WHIPRAY_CLUSTER=${clusterId}`;
  if (clusterId !== undefined && cluster !== undefined) return undefined;
  if (sessions.includes(process.session)) return `session ${process.session}`;
  if (process.holds[0] !== undefined) return `holds ${process.holds[0]}`;
  if (clusterId !== undefined || run?.unmarked === false) return undefined;
  const [name] = Object.keys(process.marks).sort();
  return name === undefined ? undefined : `environ ${name}=${process.marks[name]}`;
}

function added(before: readonly string[], after: readonly string[]): string[] {
  const old = new Set(before);
  return after.filter((name) => !old.has(name));
}
