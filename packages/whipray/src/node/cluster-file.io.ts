import { mkdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { isId, randomIds, WhiprayError } from "@whipray/core";
import { newClusterSecret } from "@whipray/rpc";
import { writeFileAtomic } from "./daemon-state.io.ts";

/** Who a cluster is, in the directory of its head: `cluster.json`, mode 0600. */
export interface ClusterFile {
  clusterId: string;
  /** 64 hex digits; the tokens of all roles come from it. */
  secret: string;
  /** TCP port of the last start. */
  port?: number | undefined;
}

/** @throws WhiprayError `CLUSTER_FILE_DAMAGED`, `CLUSTER_FILE_UNSAFE` when others can read it, `NOT_FOUND`. */
export function readClusterFile(directory: string): ClusterFile {
  const path = join(directory, "cluster.json");
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    const missing = (cause as NodeJS.ErrnoException).code === "ENOENT";
    const code = missing ? "NOT_FOUND" : "CLUSTER_FILE_DAMAGED";
    throw new WhiprayError({ code, message: `${path} cannot be read: ${String(cause)}`, cause });
  }
  if ((statSync(path).mode & 0o077) !== 0) {
    throw new WhiprayError({
      code: "CLUSTER_FILE_UNSAFE",
      message: `${path} holds the cluster's secret and can be read by others; chmod 600 it`,
    });
  }
  const { clusterId, secret, port } = parse(text);
  const whole = isId(clusterId, "cluster") && typeof secret === "string" && /^[0-9a-f]{64}$/.test(secret);
  if (!whole || (port !== undefined && !Number.isInteger(port))) {
    throw new WhiprayError({
      code: "CLUSTER_FILE_DAMAGED",
      message: `${path} is not what a head wrote; put a copy back, or remove the whole directory to begin a new cluster`,
    });
  }
  return { clusterId, secret, port: port as number | undefined };
}

/** The cluster of this directory, made on the first start. @throws WhiprayError as `readClusterFile`. */
export function openClusterDirectory(directory: string): ClusterFile {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  try {
    return readClusterFile(directory);
  } catch (error) {
    if (!(error instanceof WhiprayError) || error.code !== "NOT_FOUND") throw error;
  }
  const made = { clusterId: randomIds().next("cluster"), secret: newClusterSecret() };
  writeClusterFile(directory, made);
  return made;
}

export function writeClusterFile(directory: string, file: ClusterFile): void {
  writeFileAtomic(join(directory, "cluster.json"), `${JSON.stringify(file)}\n`);
}

function parse(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
