import { asWhiprayError, type Clock, delay } from "@whipray/core";
import {
  type ClusterEvent,
  decodeControl,
  type EventSeverity,
  encodeControl,
  eventItem,
  eventsFollow,
  eventsList,
} from "@whipray/rpc";
import type { HeadClient } from "./head-client.ts";

export interface EventFilter {
  types?: string[] | undefined;
  severity?: EventSeverity | undefined;
  id?: string | undefined;
}

/** What happens, or a word about the stream itself. */
export type FollowedEvent =
  | { event: ClusterEvent }
  /** Something may be missing here; why, and how many events where that is known. */
  | { gap: string; lost?: number }
  /** The head is away, or back. */
  | { note: string };

export interface FollowOptions {
  /** The head with which it begins; others come from `connect`. */
  head: HeadClient;
  filter: EventFilter;
  /** `seq` of the last event that was shown. */
  since: number;
  /** A head, the same or a restarted one. @throws WhiprayError with one of `HEAD_AWAY` while there is none. */
  connect: () => Promise<HeadClient>;
  clock: Clock;
}

/** Ends of the stream after which a head, the same or a restarted one, can be asked again. */
const HEAD_AWAY = new Set(["UNREACHABLE", "OUTCOME_UNKNOWN", "GOODBYE", "TIMEOUT", "DEADLINE_EXCEEDED", "NO_ADDRESS"]);
const ASK_AGAIN_MS = 500;

/**
 * Events after `since`, over every loss of the head: each once, in order. What the old head had and did not tell ended with it, so a restart
 * is a gap. Ends only by the caller, or with an error that waiting does not mend.
 */
export async function* followEvents(options: FollowOptions): AsyncGenerator<FollowedEvent, never> {
  const { filter, connect, clock } = options;
  let { head, since: place } = options;
  for (let first = true; ; first = false) {
    try {
      if (!first) {
        const back = await placeIn(head, place);
        place = back.place;
        yield { note: "the head is back" };
        if (back.gap !== undefined) yield { gap: back.gap };
      }
      for await (const parts of head.head.stream(eventsFollow.name, [encodeControl({ ...filter, since: place })])) {
        const { events, lost = 0 } = eventItem(decodeControl(parts[0] ?? new Uint8Array(0)), "item");
        if (lost > 0) yield { gap: `${lost} events are missing here: the head does not have them any more`, lost };
        for (const event of events) {
          yield { event };
          place = event.seq;
        }
      }
    } catch (error) {
      const { code, message } = asWhiprayError(error);
      if (!HEAD_AWAY.has(code)) throw error;
      yield { note: `the head is away (${message}); waiting for it` };
    } finally {
      if (!first) await head[Symbol.asyncDispose]();
    }
    head = await again(connect, clock);
  }
}

/** Where to go on in a head that was connected again. */
async function placeIn(head: HeadClient, place: number): Promise<{ place: number; gap?: string }> {
  const { newest } = await head.ask(eventsList, { limit: 0 });
  if (newest < place) return { place: 0, gap: "this head has other events: its directory is a new one" };
  const { events } = await head.ask(eventsList, { types: ["HEAD_STARTED"], since: place, limit: 1 });
  if (events.length === 0) return { place };
  return {
    place,
    gap: "the head was restarted: what its predecessor saw last, and what happened without a head, is not known",
  };
}

async function again(connect: () => Promise<HeadClient>, clock: Clock): Promise<HeadClient> {
  for (;;) {
    await delay(clock, ASK_AGAIN_MS);
    try {
      return await connect();
    } catch (error) {
      if (!HEAD_AWAY.has(asWhiprayError(error).code)) throw error;
    }
  }
}
