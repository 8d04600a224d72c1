import type { Clock, Timer } from "@whipray/core";
import type { ObjectViews } from "@whipray/objects";

/** How long the process is watched before it counts as idle. */
export const IDLE_LOOK_MS = 50;
/** A busier process is not idle; the part of the time in which its event loop ran code. */
const IDLE_LOAD = 0.5;
/** A process that is never idle collects after this all the same. */
export const COLLECT_LATEST_MS = 2_000;
/** What is reached on purpose is looked for again after twice the time, from the first of these to the second. */
const FIRST_AGAIN_MS = 100;
export const LONGEST_AGAIN_MS = 30_000;
/** A collection is followed by a rest of so many times its own length: they take no more than 5 % of the time, from the fifth on 0.5 %. */
const REST_FACTOR = 19;
const LATER_REST_FACTOR = 199;
const LATER_AGAIN_MS = 1_000;

/** The garbage collector of this process. */
export interface Garbage {
  /** Collects all garbage now; finalizers run afterwards. */
  collect(): void;
  /** The part of the time since the last call in which the event loop ran code, 0 to 1. */
  load(): number;
}

export interface ViewCollectorOptions {
  readonly clock: Clock;
  readonly garbage: Garbage;
  readonly views: Pick<ObjectViews, "has" | "count">;
  /** A program of the user's: a full collection of its heap may take long, so only when somebody waits for room. */
  readonly onlyForRoom?: boolean | undefined;
}

/**
 * Lets go of mapped objects that nobody reaches any more, when a raylet asks for it. V8 alone may keep them for ever: an idle process makes no
 * garbage, so nothing is collected. Collects when the process is idle; again and again, ever more seldom, while something asked for is reached.
 */
export class ViewCollector {
  readonly #options: ViewCollectorOptions;
  /** Freed objects that are mapped here. */
  readonly #wanted = new Set<string>();
  /** Room is needed, whatever is mapped. */
  #pressed = false;
  #since = 0;
  #restUntil = 0;
  #againMs = FIRST_AGAIN_MS;
  #timer: Timer | undefined;

  constructor(options: ViewCollectorOptions) {
    this.#options = options;
  }

  /** These objects were freed; without any, room is needed. */
  ask(objects: readonly string[]): void {
    const { clock, views, garbage, onlyForRoom = false } = this.#options;
    if (!onlyForRoom) for (const object of objects) if (views.has(object)) this.#wanted.add(object);
    if (objects.length === 0 && views.count > 0) this.#pressed = true;
    if (this.#wanted.size === 0 && !this.#pressed) return;
    this.#since = clock.now();
    this.#againMs = FIRST_AGAIN_MS;
    garbage.load();
    this.#lookIn(IDLE_LOOK_MS);
  }

  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #lookIn(ms: number): void {
    this.#timer?.cancel();
    this.#timer = this.#options.clock.after(ms, () => this.#look());
  }

  #look(): void {
    const { clock, garbage, views } = this.#options;
    this.#timer = undefined;
    for (const object of this.#wanted) if (!views.has(object)) this.#wanted.delete(object);
    if (this.#wanted.size === 0 && !this.#pressed) return;
    const now = clock.now();
    const busy = garbage.load() > IDLE_LOAD && now < this.#since + COLLECT_LATEST_MS;
    if (busy || now < this.#restUntil) {
      this.#lookIn(Math.max(IDLE_LOOK_MS, this.#restUntil - now));
      return;
    }
    garbage.collect();
    const done = clock.now();
    this.#restUntil = done + (this.#againMs < LATER_AGAIN_MS ? REST_FACTOR : LATER_REST_FACTOR) * (done - now);
    this.#since = done;
    this.#pressed = false;
    this.#lookIn(this.#againMs);
    this.#againMs = Math.min(2 * this.#againMs, LONGEST_AGAIN_MS);
  }
}
