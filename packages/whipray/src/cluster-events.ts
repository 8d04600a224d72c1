import { type AbortOptions, abortable, delay, WhiprayError } from "@whipray/core";
import {
  type ClusterEvent,
  decodeControl,
  EVENTS_LIST_LIMIT,
  type EventSeverity,
  type EventsFollow,
  type EventType,
  encodeControl,
  eventItem,
  eventsFollow,
  eventsList,
} from "@whipray/rpc";
import type { Driver } from "./driver.ts";

export interface EventOptions extends AbortOptions {
  /** Only these types. Default: all. */
  types?: readonly EventType[];
  /** Only of this severity and above. Default `INFO`: all. */
  severity?: EventSeverity;
  /** Only about this node, placement group, actor, job or device. */
  id?: string;
  /** Only after the event with this `seq`. */
  since?: number;
  /** Of what has happened already, so many of the latest come first; at most 10 000. Default 100 (Ray). */
  limit?: number;
  /** Goes on with what happens from now on, until an abort or a `break`. Default true; false ends after what there is. */
  follow?: boolean;
}

/** Ends of the stream after which a head, the same or a restarted one, can be asked again. */
const HEAD_AWAY = new Set(["UNREACHABLE", "OUTCOME_UNKNOWN"]);
const ASK_AGAIN_MS = 500;
/** Events that a `list` of Ray shows unless told otherwise. */
export const DEFAULT_EVENTS = 100;

/** What happened in the cluster and happens, as its head sees it (`Cluster.events`). */
export async function* clusterEvents(driver: Driver, options: EventOptions = {}): AsyncGenerator<ClusterEvent, void> {
  const { types, severity, id, since, limit = DEFAULT_EVENTS, follow = true, signal } = options;
  if (!Number.isSafeInteger(limit) || limit < 0 || limit > EVENTS_LIST_LIMIT) {
    const message = `limit must be a whole number from 0 to ${EVENTS_LIST_LIMIT}; got ${limit}`;
    throw new WhiprayError({ code: "INVALID_ARGUMENT", message });
  }
  const filter = {
    ...(types && { types: [...types] }),
    ...(severity !== undefined && { severity }),
    ...(id !== undefined && { id }),
  };
  const from = since === undefined ? {} : { since };
  const past = await driver.ask(eventsList, { ...filter, ...from, limit }, { signal });
  if (past.lost > 0) yield eventsLost(driver, past.lost, since ?? 0);
  yield* past.events;
  for (let place = past.newest; follow; ) {
    try {
      for await (const event of following(driver, { ...filter, since: place }, signal)) {
        yield event;
        place = event.seq;
      }
    } catch (error) {
      if (signal?.aborted || !(error instanceof WhiprayError) || !HEAD_AWAY.has(error.code)) throw error;
      await abortable(signal, () => delay(driver.connection.clock, ASK_AGAIN_MS));
    }
  }
}

async function* following(
  driver: Driver,
  request: EventsFollow & { since: number },
  signal: AbortSignal | undefined,
): AsyncGenerator<ClusterEvent> {
  const { endpoint, headUrl } = driver.connection;
  const head = endpoint.connect({ to: "head/head", url: headUrl, purpose: "data", restarts: true });
  const stream = head.stream(eventsFollow.name, [encodeControl(request)]);
  let place = request.since;
  try {
    for (;;) {
      const step = await abortable(signal, () => stream.next());
      if (step.done) return;
      const { events, lost = 0 } = eventItem(decodeControl(step.value[0] ?? new Uint8Array(0)), "item");
      if (lost > 0) yield eventsLost(driver, lost, place + lost);
      for (const event of events) {
        yield event;
        place = event.seq;
      }
    }
  } finally {
    void stream.return?.();
  }
}

/** Says in the stream itself that something is missing there. */
function eventsLost({ connection }: Driver, lost: number, seq: number): ClusterEvent {
  const timeMs = Math.floor(connection.clock.wallMs());
  return {
    ...{ seq, timeMs, type: "EVENTS_LOST", severity: "WARNING", ids: {} },
    message: `${lost} events are missing here: the head does not have them any more`,
    details: { lost: String(lost) },
  };
}
