import { asWhiprayError } from "@whipray/core";
import {
  EVENTS_PER_ITEM,
  type EventsFollow,
  encodeControl,
  eventsFollow,
  eventsList,
  type IncomingCall,
} from "@whipray/rpc";
import type { HeadContext } from "./context.ts";
import { limit } from "./full-table.ts";
import { EVENT_FOLLOWERS_LIMIT } from "./limits.ts";

/** What followers wait for. */
export const EVENTS_KEY = "events";

/** Serves `events.*`. */
export class EventService {
  readonly #ctx: Pick<HeadContext, "endpoint" | "events" | "waiters" | "logger">;
  #followers = 0;

  constructor(ctx: Pick<HeadContext, "endpoint" | "events" | "waiters" | "logger">) {
    this.#ctx = ctx;
  }

  serve(): void {
    const { endpoint, events } = this.#ctx;
    endpoint.serve(eventsList, ({ since, limit: most, ...filter }) => events.list(filter, since, most));
    endpoint.serveRaw(eventsFollow, (request, call) => {
      events.check(request, request.since);
      if (this.#followers >= EVENT_FOLLOWERS_LIMIT) throw limit("followers of events", EVENT_FOLLOWERS_LIMIT);
      void this.#follow(request, call);
    });
  }

  /** At the follower's own pace: between two items it holds nothing but its place. */
  async #follow({ since, ...filter }: EventsFollow, call: IncomingCall): Promise<void> {
    const { events, waiters, logger } = this.#ctx;
    let place = since ?? events.newest;
    const isNew = (): true | undefined => (events.newest > place ? true : undefined);
    this.#followers++;
    try {
      for (;;) {
        const batch = events.after(place, filter, EVENTS_PER_ITEM);
        place = batch.place;
        if (batch.events.length > 0 || batch.lost > 0) {
          await call.item([encodeControl({ events: batch.events, ...(batch.lost > 0 && { lost: batch.lost }) })]);
        } else await waiters.until(EVENTS_KEY, undefined, call.signal, isNew);
      }
    } catch (error) {
      logger.debug("a follower of events left", { peer: call.peer.address, error: asWhiprayError(error).message });
      call.fail(error);
    } finally {
      this.#followers--;
    }
  }
}
