import { type DeathCause, type Endpoint, engineEnded } from "@whipray/rpc";

type Listener = (cause: DeathCause) => void;

/** The raylet's `engine.ended` notices of one process, handed to whoever launched that engine. */
export class DeathNotices {
  readonly #listeners = new Map<string, Listener>();

  constructor(endpoint: Endpoint) {
    endpoint.serve(engineEnded, ({ engineId, cause }) => {
      const listener = this.#listeners.get(engineId);
      this.#listeners.delete(engineId);
      listener?.(cause);
      return null;
    });
  }

  /** Called once, when the engine has ended. To be set before the engine is started; returns the undo. */
  watch(engineId: string, listener: Listener): () => void {
    this.#listeners.set(engineId, listener);
    return () => this.#listeners.delete(engineId);
  }
}

const byEndpoint = new WeakMap<Endpoint, DeathNotices>();

/** The notices of this process: an endpoint has one handler of a method, however many engines it launches. */
export function deathNotices(endpoint: Endpoint): DeathNotices {
  const known = byEndpoint.get(endpoint);
  if (known) return known;
  const notices = new DeathNotices(endpoint);
  byEndpoint.set(endpoint, notices);
  return notices;
}
