import type { Clock } from "@whipray/core";
import type { ActorHandleWire } from "@whipray/rpc";
import type { ActorLink } from "./actor-link.ts";
import type { ActorScopes } from "./actor-scopes.ts";

/** How often a disposed handle looks whether its calls are done. */
const CALLS_POLL_MS = 50;

/** One handle, from where it was made or came from to its disposal. */
export class HandleLife {
  readonly #link: ActorLink;
  readonly #scopes: ActorScopes;
  readonly #clock: Clock;
  readonly #counted: boolean;
  #disposed = false;

  constructor(link: ActorLink, scopes: ActorScopes, clock: Clock, counted: boolean) {
    this.#link = link;
    this.#scopes = scopes;
    this.#clock = clock;
    this.#counted = counted;
  }

  toWire(): ActorHandleWire {
    return this.#scopes.lend(this.#link.actorId);
  }

  /** Takes no more calls; those that were made before run on, and count until they are done. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    void this.#end();
  }

  async #end(): Promise<void> {
    // The calls of this turn leave at its end.
    await undefined;
    this.#link.close();
    if (!this.#counted) return;
    // Nothing that keeps the program alive: its end ends the actor too.
    while (!this.#link.idle) await new Promise<void>((resolve) => this.#clock.after(CALLS_POLL_MS, resolve));
    this.#scopes.released(this.#link.actorId);
  }
}
