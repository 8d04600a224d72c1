import { hostname } from "node:os";
import {
  type AbortOptions,
  abortable,
  type Clock,
  type IdSource,
  type Logger,
  type RandomSource,
  WhiprayError,
} from "@whipray/core";
import {
  type ActorRow,
  actorKill,
  type Endpoint,
  jobClose,
  jobOpen,
  type Method,
  ownPidNamespace,
  type Peer,
} from "@whipray/rpc";
import type { TaskWaits } from "@whipray/worker";
import { ActorScopes } from "./actor-scopes.ts";
import { NamedActors } from "./named-actors.ts";
import type { ObjectStore } from "./object-store.ts";
import { RuntimeEnvs } from "./runtime-envs.ts";
import { TaskReports } from "./task-reports.ts";

/** How this process reaches its cluster. */
export interface Connection {
  endpoint: Endpoint;
  /** URL of the head. */
  headUrl: string;
  /** Node whose unix sockets this process can dial; none for a driver elsewhere. */
  localNode: string | undefined;
  clock: Clock;
  ids: IdSource;
  random: RandomSource;
  logger: Logger;
}

/** Where a process can be reached. */
export type Whereabouts = Pick<ActorRow, "address" | "socket" | "nodeId" | "url">;

interface AskOptions extends AbortOptions {
  timeoutMs?: number | undefined;
}

/** Time that a raylet has to be dialled before its traffic goes through the head. */
const DIRECT_DIAL_MS = 2_000;
/** Tries of a control call whose outcome a head restart left open; all are idempotent by their ids. */
const HEAD_CALL_TRIES = 20;

/** This process as a member of the cluster: its job, the head, and the ways to other processes. */
export class Driver {
  readonly connection: Connection;
  readonly objects: ObjectStore;
  /** What this process ships to nodes. */
  readonly runtimeEnvs = new RuntimeEnvs(this);
  /** What `listTasks` is told of. */
  readonly reports = new TaskReports(this);
  /** The raylet beside which this process was started, if there is one. */
  raylet: Peer | undefined;
  /** Inside of a task: who is told when it waits. */
  waits: TaskWaits | undefined;
  /** Which anonymous actors are still needed. */
  readonly scopes: ActorScopes;
  readonly namedActors: NamedActors;
  jobId: string;
  namespace = "";
  cluster = "";
  readonly #relayed = new Set<string>();
  #opened = false;
  #head: Peer;

  constructor(connection: Connection, objects: ObjectStore, jobId?: string) {
    this.connection = connection;
    this.objects = objects;
    this.jobId = jobId ?? connection.ids.next("job");
    this.#head = this.#toHead("control");
    this.namedActors = new NamedActors(this);
    this.scopes = new ActorScopes({
      endpoint: connection.endpoint,
      viaUrl: connection.headUrl,
      end: (actorId) => void this.#outOfScope(actorId),
      clock: connection.clock,
      headIsAway: () => !this.#head.hasRoute,
    });
  }

  async #outOfScope(actorId: string): Promise<void> {
    try {
      await this.ask(actorKill, { actorId, noRestart: true, outOfScope: true });
    } catch (error) {
      // It ends with its job.
      this.connection.logger.warn("an actor that nobody needs was not ended", { actorId, error: String(error) });
    }
  }

  get head(): Peer {
    return this.#head;
  }

  /** Registers this process as a job. @throws WhiprayError `UNREACHABLE`, `UNAUTHENTICATED`. */
  async open(namespace: string | undefined, timeoutMs: number): Promise<void> {
    const request = {
      jobId: this.jobId,
      namespace,
      pid: process.pid,
      hostname: hostname(),
      pidNamespace: ownPidNamespace(),
      entrypoint: process.argv.slice(0, 2).join(" "),
    };
    const opened = await this.head.invoke(jobOpen, request, { timeoutMs });
    this.namespace = opened.namespace;
    this.cluster = opened.cluster;
    this.#opened = true;
    // What others ask of this process, the values of its refs above all, comes over a data link of its own.
    this.#stay("data", this.#toHead("data"), () => {});
    this.#stay("control", this.#head, (head) => {
      this.#head = head;
      // A restarted head learns again that this job lives; its session is the proof.
      head.invoke(jobOpen, { ...request, namespace: this.namespace }).catch((error: unknown) => {
        this.connection.logger.warn("the job could not be registered again", { error: String(error) });
      });
    });
  }

  #toHead(purpose: "control" | "data"): Peer {
    const { endpoint, headUrl } = this.connection;
    return endpoint.connect({ to: "head/head", url: headUrl, purpose, restarts: true });
  }

  /** Calls `again` for each other head, or other session with it: an outage of the head may last longer than a session. */
  #stay(purpose: "control" | "data", head: Peer, again: (head: Peer) => void): void {
    head.onReset(() => again(head));
    head.onClose(({ code }) => {
      // Anything else than silence is an answer.
      if (code !== "UNREACHABLE") return;
      const next = this.#toHead(purpose);
      this.#stay(purpose, next, again);
      again(next);
    });
  }

  /** Inside of an actor: its calls belong to the job that made it. */
  join(namespace: string, cluster: string): void {
    this.namespace = namespace;
    this.cluster = cluster;
    this.#stay("control", this.#head, (head) => {
      this.#head = head;
    });
  }

  /**
   * A control call to the head, sent again when a head restart left its outcome open: every request that changes something is
   * idempotent by an id that this side made. An abort cancels it on the wire, and waits for nobody.
   */
  ask<Request, Reply>(method: Method<Request, Reply>, request: Request, options: AskOptions = {}): Promise<Reply> {
    return abortable(options.signal, () => this.#ask(method, request, options));
  }

  async #ask<Request, Reply>(method: Method<Request, Reply>, request: Request, options: AskOptions): Promise<Reply> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.head.invoke(method, request, options);
      } catch (error) {
        const open = error instanceof WhiprayError && error.code === "OUTCOME_UNKNOWN";
        if (!open || this.head.closed || options.signal?.aborted || attempt >= HEAD_CALL_TRIES) throw error;
      }
    }
  }

  /** Tells that the task of this process waits for `work`, if it runs one. The same promise comes back. */
  until<T>(work: Promise<T>): Promise<T> {
    return this.waits ? this.waits.until(work) : work;
  }

  /** A session with a process of a node, as the worker of an actor: its unix socket on this node, its raylet's port, or relayed by the head. */
  async reach(row: Whereabouts): Promise<Peer> {
    const to = row.address;
    if (!to) throw new WhiprayError({ code: "NO_ROUTE", message: "The process has no address yet", retryable: true });
    const { endpoint, localNode, headUrl } = this.connection;
    if (row.socket && row.nodeId !== undefined && row.nodeId === localNode) {
      return endpoint.connect({ to, url: `unix:${row.socket}`, purpose: "data" });
    }
    const node = to.slice(0, to.indexOf("/"));
    if (!row.url || this.#relayed.has(node)) return endpoint.connect({ to, url: headUrl, purpose: "data" });
    if (await this.#dials(row.url)) return endpoint.connect({ to, url: row.url, purpose: "data" });
    this.#relayed.add(node);
    return endpoint.connect({ to, url: headUrl, purpose: "data" });
  }

  async #dials(url: string): Promise<boolean> {
    try {
      await this.connection.endpoint.reachable(url, "data", DIRECT_DIAL_MS);
      return true;
    } catch (error) {
      this.connection.logger.debug("a raylet cannot be dialled; its traffic goes through the head", {
        url,
        error: String(error),
      });
      return false;
    }
  }

  /** Takes back what somebody does not wait for any more, once its outcome is known: `made` may not overtake `undo`. */
  undoLater(made: Promise<unknown>, undo: () => Promise<unknown>): void {
    made.then(undo, undo).catch((error: unknown) => {
      this.connection.logger.warn("what was aborted could not be undone", { error: String(error) });
    });
  }

  /** Says goodbye: what the job owns ends. */
  async close(timeoutMs: number): Promise<void> {
    this.reports.close();
    try {
      if (this.#opened && !this.head.closed) await this.head.invoke(jobClose, { jobId: this.jobId }, { timeoutMs });
    } catch (error) {
      this.connection.logger.warn("the head did not confirm the end of the job", { error: String(error) });
    }
    await this.connection.endpoint.close();
  }
}
