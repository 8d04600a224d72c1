import { isId, WhiprayError } from "@whipray/core";
import type { ActorRow } from "@whipray/rpc";

/** Where `attach` goes: a node, and the name of a process or an actor on it. Without a node, all are asked for the process. */
export interface AttachTarget {
  readonly nodeId: string | undefined;
  readonly process: string;
}

/** `actor/0`: a rank of a scheduler's role, and not `node/process`. */
export function isRank(subject: string): boolean {
  return /^[^/]+\/\d+$/.test(subject);
}

/**
 * The actor that `subject` means: `role/index` (the scheduler's actor `role.index` of any experiment), a name or an id. One that lives, else
 * the one that died last; the head lists them in this order.
 * @throws WhiprayError `AMBIGUOUS` listing the actors.
 */
export function actorMeant(subject: string, actors: readonly ActorRow[]): ActorRow | undefined {
  const wanted = isRank(subject) ? subject.replace("/", ".") : undefined;
  const meant = actors.filter(({ actorId, name }) => {
    if (actorId === subject || name === subject) return true;
    return wanted !== undefined && (name === wanted || name?.endsWith(`.${wanted}`) === true);
  });
  const living = meant.filter(({ state }) => state !== "DEAD");
  if (living.length <= 1) return living[0] ?? meant[0];
  const lines = living.map(({ name, namespace, actorId }) => `  ${actorId}  ${name ?? "-"}  (namespace ${namespace})`);
  throw new WhiprayError({
    code: "AMBIGUOUS",
    message: `${subject} can be ${living.length} actors; give the id of one:\n${lines.join("\n")}`,
    details: { actors: living.map(({ actorId }) => actorId) },
  });
}

/**
 * Where `attach` to `subject` goes: what `actorMeant` finds, an address `node/process`, or the id of an engine or worker. Pure.
 * @throws WhiprayError `AMBIGUOUS` listing the actors; `NOT_FOUND` for an actor that has no process, saying why.
 */
export function attachTarget(subject: string, actors: readonly ActorRow[]): AttachTarget {
  const slash = subject.indexOf("/");
  if (slash > 0 && isId(subject.slice(0, slash), "node")) {
    return { nodeId: subject.slice(0, slash), process: subject.slice(slash + 1) };
  }
  const actor = actorMeant(subject, actors);
  if (!actor) {
    if (!subject.includes("/")) return { nodeId: undefined, process: subject };
    throw nothingNamed(subject);
  }
  const { actorId, nodeId, state, death, waiting } = actor;
  if (state === "DEAD" || nodeId === undefined) {
    const why = death?.message ?? waiting ?? state;
    throw new WhiprayError({ code: "NOT_FOUND", message: `Actor ${subject} has no process to attach to: ${why}` });
  }
  return { nodeId, process: actorId };
}

export function nothingNamed(subject: string): WhiprayError {
  return new WhiprayError({
    code: "NOT_FOUND",
    message: `No actor, worker or engine ${JSON.stringify(subject.slice(0, 80))} is known; "whipray list actors" shows actors, ended ones too`,
  });
}
