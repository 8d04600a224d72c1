import { WhiprayError } from "@whipray/core";
import type { NodeRow } from "@whipray/rpc";
import type { NodeRecord } from "./node-record.ts";

export function nodeIdInUse({ nodeId, pid, hostname }: NodeRecord): WhiprayError {
  return new WhiprayError({
    code: "NODE_ID_IN_USE",
    message: `node id ${nodeId} belongs to a live raylet (pid ${pid} on ${hostname}); use another id, or try again when that one is gone`,
    retryable: true,
    details: { nodeId, pid, hostname },
  });
}

export function duplicateDevice(
  uuid: string,
  nodeId: string,
  holder: Pick<NodeRecord, "nodeId" | "hostname">,
): WhiprayError {
  return new WhiprayError({
    code: "DUPLICATE_DEVICE",
    message: `device ${uuid} of node ${nodeId} is already offered by node ${holder.nodeId} (${holder.hostname}); one raylet a device`,
    retryable: true,
    details: { uuid, nodeId: holder.nodeId },
  });
}

/** `known` is what the table has of that node now. */
export function staleEpoch(
  nodeId: string,
  epoch: number,
  known: { readonly state: NodeRow["state"]; readonly record: NodeRecord } | undefined,
): WhiprayError {
  return new WhiprayError({
    code: "STALE_EPOCH",
    message: `node ${nodeId} epoch ${epoch} is not registered (${known ? `${known.state}, epoch ${known.record.epoch}` : "unknown"}); register again`,
    details: { nodeId, epoch, current: known?.record.epoch },
  });
}
