import { isId, WhiprayError } from "@whipray/core";

/** What every daemon is told. Travels in a file of mode 0600 that the daemon removes once it has read it. */
interface DaemonBase {
  /** Where the daemon says how it is (`DaemonState`); removed when it left in order. */
  stateFile: string;
  /** The daemon leaves when its stdin ends: for one that must not outlive its parent. */
  tied: boolean;
}

/** A head with a directory: started again with the same one, it is the same cluster. */
export interface HeadDaemonConfig extends DaemonBase {
  kind: "head";
  /** Holds journal.db, cluster.json and head.sock. */
  directory: string;
  /** Address to listen on. Beyond loopback only with `tls` or `insecurePlaintext`. */
  host: string;
  /** 0 takes the port of the last start, or a free one. */
  port: number;
  /** Speak TLS. A directory whose cluster began with it goes on with it, whatever this says. */
  tls: boolean;
  insecurePlaintext: boolean;
}

/** The raylet of this machine. */
export interface RayletDaemonConfig extends DaemonBase {
  kind: "raylet";
  clusterId: string;
  nodeId: string;
  /** Of a head with TLS: `wss:` with its pin. Then this raylet's port speaks TLS too. */
  headUrl: string;
  /** The token of the role raylet. */
  token: string;
  /** TCP port for peers and drivers; without it everybody comes through the head. */
  listen?: { host: string; port: number } | undefined;
  insecurePlaintext: boolean;
  ip?: string | undefined;
  name?: string | undefined;
  resources?: Record<string, number> | undefined;
  /** A machine that exists in its tools' answers alone: `8xH100`. */
  fakeDevices?: string | undefined;
  labels?: Record<string, string> | undefined;
  runtimeRoot?: string | undefined;
  /** Working directory of workers and engines. */
  cwd: string;
  python?: string | undefined;
  /** From the end of one look at the devices to the next; for tests, which have no 10 s. */
  lookEveryMs?: number | undefined;
}

export type DaemonConfig = HeadDaemonConfig | RayletDaemonConfig;

const TEXTS = {
  head: ["stateFile", "directory", "host"],
  raylet: ["stateFile", "clusterId", "nodeId", "headUrl", "token", "cwd"],
} as const;

/** A daemon's configuration from its file. @throws WhiprayError `INVALID_CONFIG` naming the first wrong field. */
export function parseDaemonConfig<Kind extends DaemonConfig["kind"]>(
  text: string,
  kind: Kind,
): Extract<DaemonConfig, { kind: Kind }> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw invalid("is not JSON", error);
  }
  if (typeof value !== "object" || value === null) throw invalid("is not an object");
  const fields = value as Record<string, unknown>;
  if (fields["kind"] !== kind) throw invalid(`has kind ${JSON.stringify(fields["kind"])}; this is a ${kind} daemon`);
  for (const name of TEXTS[kind]) {
    if (typeof fields[name] !== "string" || fields[name] === "") throw invalid(`has no text ${name}`);
  }
  if (kind === "raylet" && !(isId(fields["clusterId"], "cluster") && isId(fields["nodeId"], "node"))) {
    throw invalid("needs the ids of a cluster and a node");
  }
  return value as Extract<DaemonConfig, { kind: Kind }>;
}

function invalid(why: string, cause?: unknown): WhiprayError {
  return new WhiprayError({ code: "INVALID_CONFIG", message: `The daemon's configuration ${why}`, cause });
}
