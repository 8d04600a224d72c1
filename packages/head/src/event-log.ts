import type { Clock } from "@whipray/core";
import {
  type ClusterEvent,
  EVENT_DETAIL_LIMIT_CHARS,
  EVENT_DETAILS_LIMIT,
  EVENT_MESSAGE_LIMIT_CHARS,
  EVENT_SEVERITIES,
  EVENT_TYPES,
  type EventSeverity,
  type EventsListed,
  type EventType,
} from "@whipray/rpc";
import { EVENTS_BYTES_LIMIT, EVENTS_KEPT } from "./limits.ts";
import { invalid } from "./names.ts";

/** An event that happens now. */
export interface NewEvent {
  type: EventType;
  severity: EventSeverity;
  ids: ClusterEvent["ids"];
  message: string;
  /** Entries without a value are left out. */
  details?: Readonly<Record<string, string | number | undefined>>;
}

export interface EventFilter {
  types?: readonly string[] | undefined;
  severity?: EventSeverity | undefined;
  id?: string | undefined;
}

/** Events after a place in the log. */
export interface EventBatch {
  events: ClusterEvent[];
  /** The place behind them, from which the next batch goes on. */
  place: number;
  /** Events after the old place that are gone. */
  lost: number;
}

/**
 * What happened, as far as the head remembers: the last `EVENTS_KEPT`, or fewer when they are large. Pure. Events live in memory alone: what
 * *is* is journalled, what *was* ends with the head, and `HEAD_STARTED` says where. Followers hold a place in it and no copies, so a slow one
 * costs nothing and learns how many it missed.
 */
export class EventLog {
  readonly #clock: Clock;
  readonly #added: () => void;
  /** By seq modulo `EVENTS_KEPT`. */
  readonly #slots: ({ event: ClusterEvent; bytes: number } | undefined)[] = [];
  readonly #first: number;
  #oldest: number;
  #newest: number;
  #bytes = 0;

  /** `floor` is above every seq that an earlier head used; `added` is called after each event. */
  constructor(options: { clock: Clock; floor: number; added?: () => void }) {
    const { clock, floor, added = () => {} } = options;
    this.#clock = clock;
    this.#added = added;
    this.#newest = floor;
    this.#first = floor + 1;
    this.#oldest = floor + 1;
  }

  /** Seq of the newest event; the floor before the first. */
  get newest(): number {
    return this.#newest;
  }

  get bytes(): number {
    return this.#bytes;
  }

  add({ type, severity, ids, message, details = {} }: NewEvent): void {
    const told = Object.entries(details).filter(([, value]) => value !== undefined);
    const cut = told
      .slice(0, EVENT_DETAILS_LIMIT)
      .map(([key, value]) => [key, String(value).slice(0, EVENT_DETAIL_LIMIT_CHARS)]);
    const event: ClusterEvent = {
      seq: this.#newest + 1,
      timeMs: Math.floor(this.#clock.wallMs()),
      ...{ type, severity, ids, message: message.slice(0, EVENT_MESSAGE_LIMIT_CHARS) },
      details: Object.fromEntries(cut),
    };
    const bytes = Buffer.byteLength(JSON.stringify(event));
    if (this.#newest - this.#oldest + 1 >= EVENTS_KEPT) this.#forgetOldest();
    this.#newest++;
    this.#slots[event.seq % EVENTS_KEPT] = { event, bytes };
    this.#bytes += bytes;
    while (this.#bytes > EVENTS_BYTES_LIMIT) this.#forgetOldest();
    this.#added();
  }

  #forgetOldest(): void {
    const slot = this.#oldest % EVENTS_KEPT;
    this.#bytes -= this.#slots[slot]?.bytes ?? 0;
    this.#slots[slot] = undefined;
    this.#oldest++;
  }

  /** The latest `limit` that match. @throws WhiprayError as `check`. */
  list(filter: EventFilter, since: number | undefined, limit: number): EventsListed {
    this.check(filter, since);
    const all = this.after(since ?? 0, filter, EVENTS_KEPT);
    const { events, lost } = all;
    return {
      events: limit === 0 ? [] : events.slice(-limit),
      ...{ total: events.length, newest: this.#newest, lost: since === undefined ? 0 : lost },
    };
  }

  /** The first `limit` that match behind `place`, which is a seq. */
  after(place: number, filter: EventFilter, limit: number): EventBatch {
    const matches = matcherOf(filter);
    const from = Math.max(place + 1, this.#oldest);
    // Of an earlier head nobody knows how many there were.
    const lost = from - Math.max(place + 1, this.#first);
    const events: ClusterEvent[] = [];
    let seq = from;
    for (; seq <= this.#newest && events.length < limit; seq++) {
      const event = this.#slots[seq % EVENTS_KEPT]?.event;
      if (event && matches(event)) events.push(event);
    }
    return { events, place: seq - 1, lost: Math.max(0, lost) };
  }

  /** @throws WhiprayError `INVALID_ARGUMENT` for a type that is none, and a `since` that has not happened yet. */
  check({ types = [] }: EventFilter, since: number | undefined): void {
    const known: readonly string[] = EVENT_TYPES;
    const strange = types.find((type) => !known.includes(type));
    if (strange !== undefined) {
      const shown = JSON.stringify(strange);
      throw invalid(`there is no event type ${shown}; there are ${known.join(", ")}`, { type: strange });
    }
    if (since !== undefined && since > this.#newest) {
      throw invalid(`no event ${since} has happened yet: the newest is ${this.#newest}`, {
        since,
        newest: this.#newest,
      });
    }
  }
}

function matcherOf({ types, severity = "INFO", id }: EventFilter): (event: ClusterEvent) => boolean {
  const least = EVENT_SEVERITIES.indexOf(severity);
  return (event) =>
    (types === undefined || types.includes(event.type)) &&
    EVENT_SEVERITIES.indexOf(event.severity) >= least &&
    (id === undefined || Object.values(event.ids).includes(id));
}
