import { isId, WhiprayError } from "@whipray/core";

/** What a machine needs beside the head's address to join: which cluster, and the token of a raylet. */
export interface JoinString {
  clusterId: string;
  token: string;
}

/** `cluster_…:64 hex digits`: one word for a command line or a file. */
export function showJoinString({ clusterId, token }: JoinString): string {
  return `${clusterId}:${token}`;
}

/** @throws WhiprayError `INVALID_JOIN_TOKEN`; the message never repeats the text. */
export function parseJoinString(text: string): JoinString {
  const [clusterId, token = "", ...rest] = text.trim().split(":");
  if (!isId(clusterId, "cluster") || !/^[0-9a-f]{64}$/.test(token) || rest.length > 0) {
    throw new WhiprayError({
      code: "INVALID_JOIN_TOKEN",
      message: 'A join token looks like "cluster_…:" and 64 hex digits, as "whipray start --head" prints it',
    });
  }
  return { clusterId, token };
}
