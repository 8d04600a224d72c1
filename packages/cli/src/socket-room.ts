import { join } from "node:path";
import { WhiprayError } from "@whipray/core";
import { runtimeDirectory, SOCKET_PATH_LIMIT_BYTES } from "@whipray/raylet";

/** Whether a head's socket fits in its directory. @throws WhiprayError `SOCKET_PATH_TOO_LONG` naming length, limit and what to set. */
export function checkHeadSocket(directory: string): void {
  const bytes = Buffer.byteLength(join(directory, "head.sock")) + 1;
  if (bytes <= SOCKET_PATH_LIMIT_BYTES) return;
  throw new WhiprayError({
    code: "SOCKET_PATH_TOO_LONG",
    message: `the socket in ${directory} would have a path of ${bytes} bytes; Linux allows ${SOCKET_PATH_LIMIT_BYTES}: give --directory, or set WHIPRAY_STATE_DIR to a shorter folder`,
    details: { directory, bytes, limitBytes: SOCKET_PATH_LIMIT_BYTES },
  });
}

/** The same of a raylet's sockets. Ids of all clusters and nodes are equally long there. */
export function checkRayletSockets(runtimeRoot: string): void {
  runtimeDirectory(runtimeRoot, `cluster_${"a".repeat(16)}`, `node_${"a".repeat(16)}`);
}
