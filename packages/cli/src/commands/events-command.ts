import { systemClock } from "@whipray/core";
import { type ClusterEvent, type EventSeverity, eventsList } from "@whipray/rpc";
import { type FollowedEvent, followEvents } from "../event-follow.ts";
import { askHead } from "./ask-head.io.ts";
import type { AskFlags, CommandContext } from "./command-context.ts";

export interface EventsFlags extends AskFlags {
  limit: number;
  follow?: boolean;
  type?: string[];
  severity?: EventSeverity;
  id?: string;
  since?: number;
}

/**
 * `whipray events`: what happened in the cluster; with `--follow` also what happens from now on, until Ctrl-C, through restarts of the head.
 * Where something is missing it says so: with `--json` in a line `{"gap","lost"?}`.
 */
export async function eventsCommand(flags: EventsFlags, context: CommandContext): Promise<void> {
  await using head = await askHead(flags, context);
  const { limit, follow, type: types, severity, id, since, json } = flags;
  const { output } = context;
  const filter = { types, severity, id };
  const { events, total, newest, lost } = await head.ask(eventsList, { ...filter, since, limit });
  if (json && !follow) return output.json({ events, total, lost });
  const show = (item: FollowedEvent): void => {
    if ("note" in item) output.say(item.note);
    else if (json) output.json("event" in item ? item.event : item);
    else if ("event" in item) output.log(eventLine(item.event));
    else output.say(`gap: ${item.gap}`);
  };
  if (lost > 0) show({ gap: `${lost} events are missing here: the head does not have them any more`, lost });
  for (const event of events) show({ event });
  if (!follow && total > events.length) output.say(`the latest ${events.length} of ${total}; more with --limit`);
  if (!follow) return;
  const connect = () => askHead(flags, context);
  for await (const item of followEvents({ head, filter, since: newest, connect, clock: systemClock })) show(item);
}

/** One line each, whatever an error said: `2026-11-29T12:33:47.120Z WARNING NODE_SUSPECT node a (node_x) is suspect: …` */
function eventLine({ timeMs, severity, type, message }: ClusterEvent): string {
  const when = new Date(timeMs).toISOString();
  return `${when} ${severity.padEnd(7)} ${type} ${message.replaceAll(/\s*\n\s*/g, " / ")}`;
}
