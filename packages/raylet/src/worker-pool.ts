/** A blank worker that nobody took for this long is stopped (design.md, mechanism 12). */
export const WARM_IDLE_MS = 30_000;
/** After a blank worker failed to start, none is started ahead of need for this long. */
export const WARM_RETRY_MS = 10_000;

// What Node, libuv, OpenSSL or the dynamic loader read once, at exec: setting them later has no effect.
const AT_EXEC =
  /^(?:NODE_|LD_|UV_|V8_|SSL_CERT_|OPENSSL_|MALLOC_|ICU_)|^(?:GLIBC_TUNABLES|TZ|LANG|LC_ALL|PATH|HOME|TMPDIR)$/;

/** Names in an actor's environment that only a process of its own can obey. */
export function coldNames(env: Readonly<Record<string, string>>): string[] {
  return Object.keys(env).filter((name) => AT_EXEC.test(name));
}

/**
 * What the pool wants done. `prestart` and `stop` are about the blank worker; `take` and `cold` answer a request. `next`: another blank
 * one is wanted at once.
 */
export type PoolAction =
  | { do: "take"; workerId: string; next: boolean }
  | { do: "cold" }
  | { do: "prestart" }
  | { do: "stop"; workerId: string };

interface Blank {
  workerId: string;
  ready: boolean;
  sinceMs: number;
}

/**
 * Decides about the one blank worker that may wait for an actor (mechanism 12): none before first use, at most one, gone after
 * 30 s, so none in an idle cluster. Pure: it is told what happened, and says what to do.
 */
export class WorkerPool {
  #blank: Blank | undefined;
  #noneBeforeMs = 0;

  /** The blank worker, started or starting. */
  get blank(): string | undefined {
    return this.#blank?.workerId;
  }

  /** An actor needs a process. A blank one that is still starting is taken too: it is ahead of any cold start. */
  request(env: Readonly<Record<string, string>>): PoolAction {
    if (!this.#blank || coldNames(env).length > 0) return { do: "cold" };
    const { workerId, ready } = this.#blank;
    this.#blank = undefined;
    // Actors come faster than blank workers start. Else the next one starts when the actor runs, and keeps the processors from nobody.
    return { do: "take", workerId, next: !ready };
  }

  /** Work is likely soon: an actor runs, so that the next one may follow, or a program has just started its cluster. */
  expected(nowMs: number): PoolAction | undefined {
    return this.#blank || nowMs < this.#noneBeforeMs ? undefined : { do: "prestart" };
  }

  prestarted(workerId: string, nowMs: number): void {
    this.#blank = { workerId, ready: false, sinceMs: nowMs };
  }

  ready(workerId: string, nowMs: number): void {
    if (this.#blank?.workerId === workerId) this.#blank = { workerId, ready: true, sinceMs: nowMs };
  }

  /** A worker ended. A blank one that never became ready shows a broken start: no more of them for a while. */
  ended(workerId: string, nowMs: number): void {
    if (this.#blank?.workerId !== workerId) return;
    if (!this.#blank.ready) this.#noneBeforeMs = nowMs + WARM_RETRY_MS;
    this.#blank = undefined;
  }

  tick(nowMs: number): PoolAction | undefined {
    if (!this.#blank?.ready || nowMs - this.#blank.sinceMs < WARM_IDLE_MS) return undefined;
    const { workerId } = this.#blank;
    this.#blank = undefined;
    return { do: "stop", workerId };
  }
}
