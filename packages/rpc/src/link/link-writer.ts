import { CHANNEL_HIGH_WATER_BYTES, type Channel } from "../transport.ts";

/** One whole frame in the pieces that are written one after another. */
export type Pieces = readonly Uint8Array[];

/**
 * Puts the frames of all routes of a link on its channel. While the channel takes them they go straight through; above the
 * high-water mark each route has a lane of its own, and lanes take turns, one frame each: a route with a lot to send
 * never starves another one.
 */
export class LinkWriter {
  readonly #channel: Channel;
  readonly #lanes = new Map<number, Pieces[]>();

  constructor(channel: Channel) {
    this.#channel = channel;
  }

  write(route: number, pieces: Pieces): void {
    if (this.#lanes.size === 0 && this.#channel.bufferedBytes < CHANNEL_HIGH_WATER_BYTES) {
      this.#channel.send(pieces);
      return;
    }
    const lane = this.#lanes.get(route);
    if (lane) lane.push(pieces);
    else this.#lanes.set(route, [pieces]);
  }

  /** Frames that wait in this route's lane. */
  backlog(route: number): number {
    return this.#lanes.get(route)?.length ?? 0;
  }

  /** The route is gone: what waits for it is not sent. */
  drop(route: number): void {
    this.#lanes.delete(route);
  }

  /** The channel has room again. */
  drain(): void {
    while (this.#lanes.size > 0 && this.#channel.bufferedBytes < CHANNEL_HIGH_WATER_BYTES) {
      const [route, lane] = this.#lanes.entries().next().value!;
      this.#lanes.delete(route);
      this.#channel.send(lane.shift()!);
      // Back at the end of the Map's order: that is the rotation.
      if (lane.length > 0) this.#lanes.set(route, lane);
    }
  }
}
