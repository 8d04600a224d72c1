import { actorPlace } from "./actor-place.io.ts";
import { EngineServer } from "./engine-server.ts";
import type { ServerStart } from "./server-start.ts";

/** The scheduler's actor: one in front of each Python engine. Created by its module's URL. */
export class RpcServer extends EngineServer {
  readonly #graceMs: number;

  constructor(start: ServerStart) {
    super(actorPlace(), start);
    this.#graceMs = start.graceMs;
  }

  /** The actor leaves: its engines go first. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop(this.#graceMs);
  }
}
