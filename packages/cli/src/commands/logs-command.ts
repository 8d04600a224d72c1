import { asWhiprayError, isId, WhiprayError } from "@whipray/core";
import { type ActorRow, actorsList, logTail } from "@whipray/rpc";
import { actorMeant, isRank, nothingNamed } from "../attach-target.ts";
import type { HeadClient } from "../head-client.ts";
import { logSession } from "../log-session.ts";
import { nodeOfProcess } from "../process-node.ts";
import { processScreen } from "../screen.io.ts";
import { askHead } from "./ask-head.io.ts";
import type { AskFlags, CommandContext } from "./command-context.ts";

export interface LogsFlags extends AskFlags {
  lines: number;
  follow?: boolean;
}

/** Where a log is kept: on which node (undefined: all are asked), and under which names, the best first. */
export interface LogPlace {
  readonly nodeId: string | undefined;
  readonly names: readonly string[];
}

/**
 * `whipray logs <process|actor>`: the last lines of a worker or engine, by its id, of an actor by id or name, or of a rank such as `actor/0`,
 * that is of its engine; with `--follow` also what is added, until its end. What has ended has a log as long as its raylet runs.
 */
export async function logsCommand(subject: string, flags: LogsFlags, context: CommandContext): Promise<void> {
  await using head = await askHead(flags, context);
  const { actors } = await head.ask(actorsList, {});
  const { names, nodeId = await nodeOfProcess(names.at(-1)!, head) } = logPlace(subject, actors);
  const { output } = context;
  const { json = false, follow = false } = flags;
  // Which of the names has a log is asked once: the stream begins with the lines itself.
  const { process, lines, path } = await read(head, nodeId, names, follow ? 0 : flags.lines);
  if (follow) {
    const view = { raylet: head.raylet(nodeId), process, screen: processScreen(), say: output.say };
    await logSession({ ...view, json, lines: flags.lines, timeoutMs: flags.timeoutSeconds * 1_000 });
  } else if (json) output.json({ process, nodeId, path, lines });
  else for (const line of lines) output.log(line);
}

async function read(head: HeadClient, nodeId: string, names: readonly string[], lines: number) {
  for (const process of names.slice(0, -1)) {
    try {
      return { process, ...(await head.askRaylet(nodeId, logTail, { process, lines })) };
    } catch (error) {
      if (asWhiprayError(error).code !== "NOT_FOUND") throw error;
    }
  }
  const process = names.at(-1)!;
  return { process, ...(await head.askRaylet(nodeId, logTail, { process, lines })) };
}

/** Where the log of `subject` is kept. @throws `NOT_FOUND` for an actor that has none yet; `AMBIGUOUS`. */
export function logPlace(subject: string, actors: readonly ActorRow[]): LogPlace {
  const slash = subject.indexOf("/");
  if (isId(subject.slice(0, Math.max(0, slash)), "node")) {
    return { nodeId: subject.slice(0, slash), names: [subject.slice(slash + 1)] };
  }
  const actor = actorMeant(subject, actors);
  if (!actor) {
    if (isRank(subject)) throw nothingNamed(subject);
    return { nodeId: undefined, names: [subject] };
  }
  const { actorId, address, death, waiting, state } = actor;
  const [nodeId = death?.nodeId, own = actorId] = address?.split("/") ?? [];
  if (nodeId === undefined && state !== "DEAD") {
    const why = death?.message ?? waiting ?? state;
    throw new WhiprayError({ code: "NOT_FOUND", message: `Actor ${subject} has no process and no log yet: ${why}` });
  }
  return { nodeId, names: isRank(subject) ? [`${actorId}.engine`, own] : [own] };
}
