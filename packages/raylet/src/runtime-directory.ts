import { isId, WhiprayError } from "@whipray/core";

/** Bytes of a unix socket's path, the closing NUL included (sockaddr_un). */
export const SOCKET_PATH_LIMIT_BYTES = 108;
const LONGEST_ENTRY = "/s/0123456789abcdef.sock";

/**
 * The folders of one raylet: `<root>/<cluster>-<node>/`, with ids cut to keep socket paths short, and `<root>/host/` that all
 * raylets of this user share: port leases, and locks of devices that exist for them alone.
 */
export interface RuntimeDirectory {
  readonly root: string;
  /** This node's own folder. */
  readonly node: string;
  readonly logs: string;
  /** Unpacked packages of runtime environments. */
  readonly packages: string;
  /** The raylet's socket for workers and drivers of this machine. */
  readonly socket: string;
  /** The socket on which guards report. */
  readonly guardSocket: string;
  /** Lock files of fake devices, and of real ones where the machine has no folder for all its users. */
  readonly locks: string;
  /** The port table, shared likewise. */
  readonly ports: string;
  /** Socket of one worker. */
  workerSocket(workerId: string): string;
  /** A file that only its reader and we see: a token, a guard's configuration. */
  secret(name: string): string;
}

/** $XDG_RUNTIME_DIR/whipray, else ~/.cache/whipray (reliability, threat model: never /tmp). */
export function runtimeRoot(env: Readonly<Record<string, string | undefined>>, home: string): string {
  const own = env["WHIPRAY_RUNTIME_DIR"];
  if (own) return own;
  const runtime = env["XDG_RUNTIME_DIR"];
  return runtime?.startsWith("/") ? `${runtime}/whipray` : `${home}/.cache/whipray`;
}

/**
 * Names only; nothing is created.
 * @throws WhiprayError `INVALID_PATH` for a root that is not absolute; `SOCKET_PATH_TOO_LONG` naming length and limit.
 */
export function runtimeDirectory(root: string, cluster: string, nodeId: string): RuntimeDirectory {
  if (!root.startsWith("/") || root.includes("\0") || !isId(cluster, "cluster") || !isId(nodeId, "node")) {
    throw new WhiprayError({
      code: "INVALID_PATH",
      message: `runtime directory ${JSON.stringify(root.slice(0, 200))} must be an absolute path, with ids of a cluster and a node`,
      details: { root: root.slice(0, 200), cluster, nodeId },
    });
  }
  const node = `${root}/${shorten(cluster)}-${shorten(nodeId)}`;
  const bytes = Buffer.byteLength(node) + LONGEST_ENTRY.length + 1;
  if (bytes > SOCKET_PATH_LIMIT_BYTES) {
    throw new WhiprayError({
      code: "SOCKET_PATH_TOO_LONG",
      message: `sockets under ${node} would have paths of ${bytes} bytes; Linux allows ${SOCKET_PATH_LIMIT_BYTES}: set WHIPRAY_RUNTIME_DIR to a shorter folder`,
      details: { path: node, bytes, limit: SOCKET_PATH_LIMIT_BYTES },
    });
  }
  return {
    root,
    node,
    logs: `${node}/logs`,
    packages: `${node}/packages`,
    socket: `${node}/raylet.sock`,
    guardSocket: `${node}/guards.sock`,
    locks: `${root}/host/locks`,
    ports: `${root}/host/ports.db`,
    workerSocket: (workerId) => `${node}/s/${workerId.slice(workerId.indexOf("_") + 1)}.sock`,
    secret: (name) => `${node}/x/${name}`,
  };
}

function shorten(id: string): string {
  return id.slice(id.indexOf("_") + 1).slice(0, 8);
}

/** In a node's folder: says who owns it. */
export const OWNER_FILE = "owner.json";

/** Who owns a node's folder: written when it is made, read by whoever finds it later. */
export interface DirectoryOwner {
  readonly cluster: string;
  readonly nodeId: string;
  readonly inc: string;
  readonly pid: number;
  readonly startTime: number;
}

/** The owner as its file says, or undefined for anything else. */
export function parseOwner(text: string): DirectoryOwner | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { cluster, nodeId, inc, pid, startTime } = value as Record<string, unknown>;
  const named = isId(cluster, "cluster") && isId(nodeId, "node") && isId(inc, "inc");
  if (!named || !Number.isSafeInteger(pid) || !Number.isSafeInteger(startTime)) return undefined;
  return { cluster, nodeId, inc, pid: pid as number, startTime: startTime as number };
}

/** Marks every process that a raylet starts: /proc shows it whatever became of the process. */
export const NODE_MARK = "WHIPRAY_NODE_ID";

/** Marks them with the incarnation of their raylet, so that a restarted raylet's are told from its predecessor's. */
export const RAYLET_MARK = "WHIPRAY_RAYLET";
