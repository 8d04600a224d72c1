import {
  type ClusterEvent,
  decodeControl,
  type EventSeverity,
  encodeControl,
  eventItem,
  eventsFollow,
  eventsList,
} from "@whipray/rpc";
import type { HeadClient } from "../head-client.ts";
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

/** `whipray events`: what happened in the cluster; with `--follow` also what happens from now on, until Ctrl-C. */
export async function eventsCommand(flags: EventsFlags, context: CommandContext): Promise<void> {
  await using head = await askHead(flags, context);
  const { limit, follow, type: types, severity, id, since, json } = flags;
  const { output } = context;
  const filter = { types, severity, id };
  const { events, total, newest, lost } = await head.ask(eventsList, { ...filter, since, limit });
  if (json && !follow) return output.json({ events, total, lost });
  const show = (event: ClusterEvent): void => (json ? output.json(event) : output.log(eventLine(event)));
  const miss = (missing: number): void => {
    if (missing > 0) output.say(`${missing} events are missing here: the head does not have them any more`);
  };
  miss(lost);
  for (const event of events) show(event);
  if (!follow && total > events.length) output.say(`the latest ${events.length} of ${total}; more with --limit`);
  if (!follow) return;
  for await (const item of following(head, { ...filter, since: newest })) {
    miss(item.lost ?? 0);
    for (const event of item.events) show(event);
  }
}

/** Ends with an error when the head goes: a restarted one has other events. */
async function* following(head: HeadClient, request: Parameters<typeof eventsFollow.request>[0]) {
  for await (const parts of head.head.stream(eventsFollow.name, [encodeControl(request)]))
    yield eventItem(decodeControl(parts[0] ?? new Uint8Array(0)), "item");
}

/** One line each, whatever an error said: `2026-11-29T12:33:47.120Z WARNING NODE_SUSPECT node a (node_x) is suspect: …` */
function eventLine({ timeMs, severity, type, message }: ClusterEvent): string {
  const when = new Date(timeMs).toISOString();
  return `${when} ${severity.padEnd(7)} ${type} ${message.replaceAll(/\s*\n\s*/g, " / ")}`;
}
