import { actorPlace } from "./actor-place.io.ts";
import { EngineServer } from "./engine-server.ts";
import type { ServerStart } from "./server-start.ts";

/** The scheduler's actor: one in front of each Python engine. Created by its module's URL. */
export class RpcServer extends EngineServer {
  constructor(start: ServerStart) {
    super(actorPlace(), start);
  }

  /** The actor leaves: its engines go first. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop(0);
  }
}

/** File that `cluster.actor` loads `RpcServer` from. */
export const rpcServerModule: URL = new URL(import.meta.url);
