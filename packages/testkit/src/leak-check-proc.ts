/** Fields of /proc/<pid>/stat that tell processes apart and together. */
export interface ProcStat {
  /** One letter of the kernel: R, S, D, T, Z (zombie) … */
  state: string;
  parentPid: number;
  session: number;
  /** Start time in clock ticks since boot: with the pid it names one process for ever. */
  startTicks: string;
}

/** Parses /proc/<pid>/stat. The command in parentheses may hold spaces and parentheses. */
export function parseStat(text: string): ProcStat | undefined {
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const [state, parent, , session] = fields;
  const startTicks = fields[19];
  if (state === undefined || parent === undefined || session === undefined || startTicks === undefined)
    return undefined;
  return { state, parentPid: Number(parent), session: Number(session), startTicks };
}

/** Parses /proc/<pid>/environ (or cmdline): entries with a NUL after each. Entries without `=` are dropped. */
export function parseEnviron(text: string): Map<string, string> {
  const entries = text.split("\0").map((entry) => [entry.indexOf("="), entry] as const);
  return new Map(entries.filter(([at]) => at > 0).map(([at, entry]) => [entry.slice(0, at), entry.slice(at + 1)]));
}

/** Paths of the listening sockets in /proc/net/unix; abstract ones start with `@`. */
export function parseUnixListeners(text: string): string[] {
  const paths: string[] = [];
  for (const line of text.split("\n").slice(1)) {
    // Num RefCount Protocol Flags Type St Inode Path; flag 0x10000 is "accepts connections".
    const [, , , flags = "0", , , , ...path] = line.trim().split(/\s+/);
    if (path.length > 0 && (Number.parseInt(flags, 16) & 0x10000) !== 0) paths.push(path.join(" "));
  }
  return paths;
}

/** A listening TCP port and the inode of its socket. */
export interface TcpListener {
  port: number;
  inode: string;
}

/** Parses /proc/net/tcp or tcp6. */
export function parseTcpListeners(text: string): TcpListener[] {
  const listeners: TcpListener[] = [];
  for (const line of text.split("\n").slice(1)) {
    // sl local rem st tx:rx tr:when retrnsmt uid timeout inode; state 0A is LISTEN.
    const [, local = "", , state, , , , , , inode = ""] = line.trim().split(/\s+/);
    const port = Number.parseInt(local.slice(local.lastIndexOf(":") + 1), 16);
    if (state === "0A" && Number.isFinite(port)) listeners.push({ port, inode });
  }
  return listeners;
}

/** Namespaces that a mount keeps alive, as `ip netns add` does: from /proc/<pid>/mountinfo. */
export function parseNamespaceMounts(text: string): { namespace: string; path: string }[] {
  const mounts = text.split("\n").map((line) => {
    // id parent major:minor root path options …; the root of a namespace file is its name, such as net:[4026532288].
    const [, , , namespace = "", path = ""] = line.split(" ");
    return { namespace, path };
  });
  return mounts.filter(({ namespace }) => /^\w+:\[\d+\]$/.test(namespace));
}
