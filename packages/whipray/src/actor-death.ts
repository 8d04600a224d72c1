import {
  ActorDiedError,
  ActorHandleNotFoundError,
  ActorPlacementGroupRemoved,
  ActorUnschedulableError,
  DeviceLostError,
  type ErrorWire,
  errorFromWire,
  OutOfMemoryError,
  type RayError,
  WhiprayError,
} from "@whipray/core";
import type { ActorRow, DeathCause } from "@whipray/rpc";

/** Calls that were sent have an open outcome; the others go to the new one. */
export function movedError({ actorId, epoch }: ActorRow): WhiprayError {
  return new WhiprayError({
    code: "UNREACHABLE",
    message: `Actor ${actorId} was started anew (epoch ${epoch})`,
    retryable: true,
    details: { actorId, epoch },
  });
}

/** The handle that was called was disposed before. */
export function disposedError(actorId: string): ActorHandleNotFoundError {
  return new ActorHandleNotFoundError({
    message: `This handle of ${actorId} was disposed`,
    details: { actorId },
  });
}

/** Lines of stderr that the message shows; `where.stderrTail` has all that the raylet kept. */
const SHOWN_LINES = 20;

/** What a caller sees of a dead actor: an error that tells what the head knows: exit code or signal, last lines, log path, the constructor's error. */
export function diedError(row: ActorRow): RayError {
  const death: Partial<DeathCause> = row.death ?? {};
  const where = death.nodeId ? ` on ${death.nodeId}` : "";
  const message = death.message ?? "no cause known";
  const ending = death.signal
    ? `signal ${death.signal}`
    : death.exitCode === undefined
      ? ""
      : `exit code ${death.exitCode}`;
  const how = message.includes(ending) ? "" : ` (${ending})`;
  const tail = death.stderrTail?.length
    ? `\nlast lines of stderr:\n${death.stderrTail.slice(-SHOWN_LINES).join("\n")}`
    : "";
  const log = death.logPath === undefined ? "" : `\nits log: ${death.logPath}`;
  const Kind = errorClass(row);
  return new Kind({
    message: `Actor ${row.name ?? row.className} (${row.actorId}) is dead${where}: ${message}${how}${tail}${log}`,
    details: { actorId: row.actorId, actorInitFailed: death.kind === "CREATION_FAILED", cause: death.kind },
    where: {
      actor: row.actorId,
      ...(death.nodeId !== undefined && { node: death.nodeId }),
      ...(death.pid !== undefined && { pid: death.pid }),
      ...(death.exitCode !== undefined && { exitCode: death.exitCode }),
      ...(death.signal !== undefined && { signal: death.signal }),
      ...(death.stderrTail !== undefined && { stderrTail: death.stderrTail }),
      ...(death.logPath !== undefined && { logPath: death.logPath }),
    },
    ...(death.error !== undefined && { cause: errorFromWire(death.error as ErrorWire) }),
    ...(death.kind === "OUT_OF_MEMORY" && { cause: new OutOfMemoryError({ message }) }),
  });
}

/** Ray: one that was never placed did not die. */
function errorClass({
  death,
  epoch,
}: ActorRow): new (
  init: ConstructorParameters<typeof ActorDiedError>[0],
) => RayError {
  if (death?.kind === "DEVICE_LOST") return DeviceLostError;
  if (death?.kind === "UNSCHEDULABLE") return ActorUnschedulableError;
  if (death?.kind === "GROUP_REMOVED" && epoch === 0) return ActorPlacementGroupRemoved;
  return ActorDiedError;
}
