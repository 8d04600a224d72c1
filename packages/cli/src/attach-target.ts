import { isId, WhiprayError } from "@whipray/core";
import type { ActorRow } from "@whipray/rpc";

/** Where `attach` goes: a node, and the name of a process or an actor on it. Without a node, all are asked for the process. */
export interface AttachTarget {
  readonly nodeId: string | undefined;
  readonly process: string;
}

/**
 * What `subject` means: `role/index` (the scheduler's actor `role.index` of any experiment), an actor's name or id, an address
 * `node/process`, or the id of an engine or worker. Pure.
 * @throws WhiprayError `AMBIGUOUS` listing the actors; `NOT_FOUND` for an actor that has no process, saying why.
 */
export function attachTarget(subject: string, actors: readonly ActorRow[]): AttachTarget {
  const slash = subject.indexOf("/");
  if (slash > 0 && isId(subject.slice(0, slash), "node")) {
    return { nodeId: subject.slice(0, slash), process: subject.slice(slash + 1) };
  }
  const wanted = /^[^/]+\/\d+$/.test(subject) ? subject.replace("/", ".") : undefined;
  const meant = actors.filter(({ actorId, name }) => {
    if (actorId === subject || name === subject) return true;
    return wanted !== undefined && (name === wanted || name?.endsWith(`.${wanted}`) === true);
  });
  const living = meant.filter(({ state }) => state !== "DEAD");
  const [actor, ...more] = living.length > 0 ? living : meant.slice(-1);
  if (more.length > 0) {
    const lines = living.map(
      ({ name, namespace, actorId }) => `  ${actorId}  ${name ?? "-"}  (namespace ${namespace})`,
    );
    throw new WhiprayError({
      code: "AMBIGUOUS",
      message: `${subject} can be ${living.length} actors; give the id of one:\n${lines.join("\n")}`,
      details: { actors: living.map(({ actorId }) => actorId) },
    });
  }
  if (!actor) {
    if (!subject.includes("/")) return { nodeId: undefined, process: subject };
    throw new WhiprayError({ code: "NOT_FOUND", message: `No actor ${JSON.stringify(subject.slice(0, 80))} is known` });
  }
  const { actorId, nodeId, state, death, waiting } = actor;
  if (state === "DEAD" || nodeId === undefined) {
    const why = death?.message ?? waiting ?? state;
    throw new WhiprayError({ code: "NOT_FOUND", message: `Actor ${subject} has no process to attach to: ${why}` });
  }
  return { nodeId, process: actorId };
}
