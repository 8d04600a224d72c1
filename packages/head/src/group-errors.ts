import { WhiprayError } from "@whipray/core";
import type { GroupCreate, WaitReason } from "@whipray/rpc";
import type { GroupRecord } from "./group-record.ts";

/** What waiters of a removed group get, and whoever asks for it later. */
export function removedError(pgId: string, why: string): WhiprayError {
  return new WhiprayError({
    code: "PLACEMENT_GROUP_REMOVED",
    message: `placement group ${pgId} is gone: ${why}`,
    details: { pgId },
  });
}

/** A group with a deadline was not placed by then: says what was missing, by bundle. */
export function timeoutError(record: GroupRecord, reasons: readonly WaitReason[]): WhiprayError {
  const why = reasons.map((reason) => `bundle ${reason.bundle} ${reason.kind}: ${reason.text}`).join("; ");
  return new WhiprayError({
    code: "PLACEMENT_TIMEOUT",
    message: `placement group ${record.pgId} was not placed in time; ${why || "raylets were still being asked"}`.slice(
      0,
      8_192,
    ),
    details: { pgId: record.pgId, reasons },
  });
}

export function nameTaken(request: GroupCreate, holder: string): WhiprayError {
  return new WhiprayError({
    code: "NAME_TAKEN",
    message: `placement group name ${request.name} is taken by ${holder} in namespace ${request.namespace}; remove that one or choose another name`,
    details: { name: request.name, namespace: request.namespace, holder },
  });
}
