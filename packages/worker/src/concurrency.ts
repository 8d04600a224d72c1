import { WhiprayError } from "@whipray/core";
import type { ActorSpec } from "@whipray/rpc";
import { type ActorMethod, ASYNC_CONCURRENCY, isAsync } from "./actor-methods.ts";
import { CallQueue, type QueuedCall } from "./call-queue.ts";

/** Separates a method from the concurrency group that one call names: `fetch@io` (PROTOCOL.md, "Actors"). */
const AT = "@";

/** The queues of an actor: one of its own for each concurrency group, one for all methods in none (Ray: concurrency_groups). */
export class Concurrency {
  readonly #className: string;
  readonly #default: CallQueue;
  readonly #groups = new Map<string, CallQueue>();
  readonly #ofMethod = new Map<string, CallQueue>();

  /** @throws WhiprayError `METHOD_NOT_FOUND` for rules of a method that the class does not have. */
  constructor(spec: ActorSpec, methods: ReadonlyMap<string, ActorMethod>) {
    this.#className = spec.className;
    this.#default = new CallQueue(spec.maxConcurrency || (isAsync(methods) ? ASYNC_CONCURRENCY : 1));
    for (const [name, limit] of Object.entries(spec.concurrencyGroups ?? {})) {
      this.#groups.set(name, new CallQueue(limit));
    }
    for (const [method, { concurrencyGroup }] of Object.entries(spec.methods ?? {})) {
      if (concurrencyGroup !== undefined) this.#ofMethod.set(method, this.#group(concurrencyGroup));
    }
  }

  /** The method that a call means, and where it waits for its turn. @throws WhiprayError `INVALID_ARGUMENT` for a group that is none. */
  find(called: string): { method: string; queue: CallQueue } {
    const at = called.indexOf(AT);
    if (at < 0) return { method: called, queue: this.#ofMethod.get(called) ?? this.#default };
    return { method: called.slice(0, at), queue: this.#group(called.slice(at + 1)) };
  }

  /** Takes out what waits. */
  drain(): QueuedCall[] {
    return this.#all().flatMap((queue) => queue.drain());
  }

  /** Resolves when no call runs or waits. */
  async idle(): Promise<void> {
    await Promise.all(this.#all().map((queue) => queue.idle()));
  }

  #all(): CallQueue[] {
    return [this.#default, ...this.#groups.values()];
  }

  #group(name: string): CallQueue {
    const queue = this.#groups.get(name);
    if (queue) return queue;
    const known = [...this.#groups.keys()].join(", ") || "none";
    throw new WhiprayError({
      code: "INVALID_ARGUMENT",
      message: `${this.#className} has no concurrency group ${JSON.stringify(name.slice(0, 64))}; its concurrencyGroups are ${known}`,
    });
  }
}
