import { isId, WhiprayError } from "@whipray/core";
import { type ActorRow, actorsList, logTail } from "@whipray/rpc";
import type { HeadClient } from "../head-client.ts";
import { nodeOfProcess } from "../process-node.ts";
import { askHead } from "./ask-head.io.ts";
import type { AskFlags, CommandContext } from "./command-context.ts";

export interface LogsFlags extends AskFlags {
  lines: number;
}

/** `whipray logs <process|actor>`: the last lines of a worker or engine, by its id, or by an actor's id or name. */
export async function logsCommand(subject: string, flags: LogsFlags, context: CommandContext): Promise<void> {
  await using head = await askHead(flags, context);
  const { actors } = await head.ask(actorsList, {});
  const { nodeId, process } = await find(subject, actors, head);
  const { lines, path } = await head.askRaylet(nodeId, logTail, { process, lines: flags.lines });
  if (flags.json) context.output.json({ process, nodeId, path, lines });
  else for (const line of lines) context.output.log(line);
}

/** Where the log of `subject` is kept. */
async function find(
  subject: string,
  actors: readonly ActorRow[],
  head: HeadClient,
): Promise<{ nodeId: string; process: string }> {
  const address =
    subject.includes("/") && isId(subject.slice(0, subject.indexOf("/")), "node")
      ? subject
      : addressOf(subject, actors);
  if (address !== undefined) {
    const at = address.indexOf("/");
    return { nodeId: address.slice(0, at), process: address.slice(at + 1) };
  }
  return { nodeId: await nodeOfProcess(subject, head), process: subject };
}

/** The process of an actor by id or name; of several with one name the living one. */
export function addressOf(subject: string, actors: readonly ActorRow[]): string | undefined {
  const named = actors.filter(({ actorId, name }) => actorId === subject || name === subject);
  const best = named.find(({ state }) => state !== "DEAD") ?? named.at(-1);
  if (best && best.address === undefined) {
    const why = best.death?.message ?? best.waiting ?? best.state;
    throw new WhiprayError({ code: "NOT_FOUND", message: `Actor ${subject} has no process and no log yet: ${why}` });
  }
  return best?.address;
}
