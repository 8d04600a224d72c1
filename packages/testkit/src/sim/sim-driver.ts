import { asWhiprayError, delay, toUnits, WhiprayError } from "@whipray/core";
import {
  type ActorRow,
  type ActorSpec,
  actorCreate,
  actorKill,
  actorResolve,
  decodeValues,
  encodeValues,
  type GroupCreate,
  type GroupRow,
  groupCreate,
  groupRemove,
  groupTable,
  groupWait,
  jobClose,
  jobOpen,
  type Method,
  nodesList,
  type Parts,
  type Peer,
  type TaskLease,
  type TaskLeaseAnswer,
  taskLease,
  taskRelease,
  WireEndpoint,
} from "@whipray/rpc";
import { daemons } from "whipray";
import { ProcessClock } from "./process-clock.ts";
import { HEAD_URL } from "./sim-head.ts";
import { SimObjects } from "./sim-objects.ts";
import type { World } from "./world.ts";

/** What a call of an actor of a simulation answers. */
export interface CallAnswer {
  readonly token: string;
  readonly pid: number;
  readonly epoch: number;
  readonly workerId: string;
}

export interface CallOptions {
  /** What its method takes, before it answers. */
  readonly ms?: number;
  readonly timeoutMs?: number;
  /** Of a task: the group in which it runs. */
  readonly pgId?: string | undefined;
  /** Further arguments. */
  readonly more?: readonly unknown[];
}

/** Ends of a control call after which it is asked again: every request is idempotent by an id that this side made. */
const ASK_AGAIN = new Set(["OUTCOME_UNKNOWN", "UNREACHABLE", "GOODBYE", "OWNER_DIED"]);
const ASK_PAUSE_MS = 100;
const CALL_LIMIT_MS = 20_000;
/** Between a raylet's refusal of a task that was passed on and the next question. */
const REFUSED_PAUSE_MS = 250;
/** P11: a call ends by its deadline, give or take a second. */
const BOUND_SLACK_MS = 1_000;

/** A driver of a simulation: opens a job, makes groups and actors, calls them over their raylet as real drivers do. */
export class SimDriver {
  readonly jobId: string;
  readonly machine: string;
  readonly objects: SimObjects;
  readonly #world: World;
  readonly #endpoint: WireEndpoint;
  readonly #clock: ProcessClock;
  readonly #lanes = new Map<Peer, { name: string; next: number }>();
  readonly #found = new Map<string, { row: ActorRow; peer: Peer }>();
  #head: Peer | undefined;
  #listening: Peer | undefined;
  #tokens = 0;

  constructor(world: World, machine: string) {
    this.#world = world;
    this.machine = machine;
    this.jobId = world.ids.next("job");
    this.#clock = new ProcessClock(world.clock);
    this.#endpoint = new WireEndpoint({
      ...world.services(machine, this.#clock),
      address: `head/${world.ids.next("driver")}`,
      role: "driver",
      token: "",
      pid: 1,
      transport: world.network.at(machine, this.#clock),
    });
    const services = world.services(machine, this.#clock);
    const reach = { endpoint: this.#endpoint, headUrl: HEAD_URL, known: undefined, head: () => this.#head! };
    this.objects = new SimObjects({
      ...{ process: machine, ...services, endpoint: this.#endpoint, viaUrl: HEAD_URL, history: world.history },
      access: daemons.objectAccess({ ...services, ...reach }),
      isAlive: () => !this.#clock.killed,
    });
  }

  /** Registers the job, and again whenever the head turns out to be another one. */
  async open(): Promise<void> {
    if (this.#head && !this.#head.closed) return;
    const head = this.#endpoint.connect({ to: "head/head", url: HEAD_URL, purpose: "control", restarts: true });
    this.#head = head;
    const { jobId, machine } = this;
    const request = { jobId, namespace: "sim", pid: 1, hostname: machine, entrypoint: "simulation" };
    head.onReset(() => void head.invoke(jobOpen, request).catch(() => {})); // the next reset or `open` tries again
    // An outage of the head may be longer than a session lasts.
    head.onClose(() => this.#clock.after(ASK_PAUSE_MS, () => void this.open().catch(() => {})));
    this.#listen();
    await head.invoke(jobOpen, request);
  }

  /** What others ask of this process, the values of its refs above all, comes over a data link of its own. */
  #listen(): void {
    if (this.#listening && !this.#listening.closed) return;
    const data = this.#endpoint.connect({ to: "head/head", url: HEAD_URL, purpose: "data", restarts: true });
    this.#listening = data;
    data.onClose(() => this.#clock.after(ASK_PAUSE_MS, () => this.#listen()));
  }

  /** Asks until there is an answer, or `limitMs` has passed. @throws what the head answered. */
  async ask<Request, Reply>(method: Method<Request, Reply>, request: Request, limitMs = 60_000): Promise<Reply> {
    const endMs = this.#clock.now() + limitMs;
    for (;;) {
      try {
        await this.open();
        return await this.#head!.invoke(method, request, { timeoutMs: Math.max(1, endMs - this.#clock.now()) });
      } catch (thrown) {
        const error = asWhiprayError(thrown);
        if (!ASK_AGAIN.has(error.code) || this.#clock.now() >= endMs) throw error;
      }
      await delay(this.#clock, ASK_PAUSE_MS);
    }
  }

  /** Asks for a group. Settles when the head has journalled it. */
  async createGroup(
    bundles: readonly Readonly<Record<string, number>>[],
    more: Partial<GroupCreate> = {},
  ): Promise<string> {
    const request: GroupCreate = {
      ...{ pgId: this.#world.ids.next("pg"), jobId: this.jobId, namespace: "sim", strategy: "PACK", detached: false },
      bundles: bundles.map((bundle, index) => ({ ...toUnits(bundle, `bundle ${index}`) })),
      ...more,
    };
    const asked = { request, created: "unknown" as const, ended: undefined };
    this.#world.history.groups.set(request.pgId, asked);
    await this.#note(asked, "created", this.ask(groupCreate, request));
    return request.pgId;
  }

  /** Waits until it is CREATED. */
  async ready(pgId: string, timeoutMs = 60_000): Promise<GroupRow> {
    const { ready, group } = await this.ask(groupWait, { pgId, timeoutMs }, timeoutMs + 5_000);
    if (ready) return group;
    const why = group.reasons.map((reason) => reason.text).join("; ");
    throw new WhiprayError({ code: "TIMEOUT", message: `${pgId} is ${group.state}: ${why}` });
  }

  async group(pgId: string): Promise<GroupRow | undefined> {
    return (await this.ask(groupTable, { pgId })).groups[0];
  }

  async removeGroup(pgId: string): Promise<void> {
    const asked = this.#world.history.groups.get(pgId);
    await this.#note(asked, "ended", this.ask(groupRemove, { pgId }));
  }

  /** Asks for an actor. Settles when the head has journalled it. `resources` is held and needed to be placed. */
  async createActor(resources: Readonly<Record<string, number>>, more: Partial<ActorSpec> = {}): Promise<string> {
    const units = { ...toUnits(resources, "resources of the actor") };
    const spec: ActorSpec = {
      ...{ actorId: this.#world.ids.next("actor"), jobId: this.jobId, namespace: "sim", detached: false },
      ...{ className: "Sim", module: "file:///sim.ts", exportName: "Sim", args: [], units, placementUnits: units },
      ...{ bundleIndex: -1, captureChildTasks: false, maxRestarts: 0, maxTaskRetries: 0, maxConcurrency: 1 },
      ...{ maxPendingCalls: -1, env: {}, isolation: "env", graceMs: 0 },
      ...more,
    };
    const asked = { request: spec, created: "unknown" as const, ended: undefined };
    this.#world.history.actors.set(spec.actorId, asked);
    await this.#note(asked, "created", this.ask(actorCreate, { spec, getIfExists: false }));
    return spec.actorId;
  }

  /** Waits until its constructor is done in an epoch above `afterEpoch`, or until it is dead. */
  async settled(actorId: string, afterEpoch = 0, timeoutMs = 60_000): Promise<ActorRow> {
    const request = { actorId, wait: true, afterEpoch, timeoutMs };
    return (await this.ask(actorResolve, request, timeoutMs + 5_000)).actor;
  }

  async actor(actorId: string): Promise<ActorRow> {
    return (await this.ask(actorResolve, { actorId, wait: false })).actor;
  }

  async killActor(actorId: string, noRestart = true): Promise<void> {
    const asked = noRestart ? this.#world.history.actors.get(actorId) : undefined;
    await this.#note(asked, "ended", this.ask(actorKill, { actorId, noRestart }));
  }

  /** One call, sent at most once. `ms` is how long its method takes. @throws what became of it. */
  async call(actorId: string, method: "run" | "crash" = "run", options: CallOptions = {}): Promise<CallAnswer> {
    return decodeValues(await this.callFor(actorId, method, options)) as CallAnswer;
  }

  /** The parts of its reply. */
  callFor(actorId: string, method: string, options: CallOptions = {}): Promise<Parts> {
    const { ms = 0, timeoutMs = CALL_LIMIT_MS, more = [] } = options;
    return this.record(actorId, timeoutMs, async (token, leftMs) => {
      const { row, peer } = await this.#find(actorId, Math.ceil(timeoutMs / 2));
      const lane = this.#lane(peer);
      const parts = encodeValues([token, lane.name, lane.next++, ms, ...more]);
      return peer.call(method, parts, { epoch: row.epoch, timeoutMs: leftMs() });
    });
  }

  /**
   * One task, sent at most once: a lease on a node that the head shows alive, a call of its worker, the lease given back. `nest` waits in the worker
   * for a task of its own. @throws what became of it.
   */
  async task(
    resources: Readonly<Record<string, number>>,
    method: "run" | "crash" | "nest" = "run",
    options: CallOptions = {},
  ): Promise<CallAnswer> {
    return decodeValues(await this.taskFor(resources, method, options)) as CallAnswer;
  }

  /** The parts of its reply. */
  taskFor(resources: Readonly<Record<string, number>>, method: string, options: CallOptions = {}): Promise<Parts> {
    const { ms = 0, timeoutMs = CALL_LIMIT_MS, pgId, more = [] } = options;
    return this.record("task", timeoutMs, async (token, leftMs) => {
      const { nodes } = await this.ask(nodesList, {}, leftMs());
      const alive = nodes.filter((node) => node.state === "ALIVE");
      const node = alive[this.#world.random.below(Math.max(1, alive.length))];
      if (!node) throw new WhiprayError({ code: "UNREACHABLE", message: "no node is alive" });
      const url = node.url ?? HEAD_URL;
      const rayletOf = (nodeId: string, at: string): Peer =>
        this.#endpoint.connect({ to: `${nodeId}/raylet`, url: at, purpose: "data" });
      const first = { raylet: rayletOf(node.nodeId, url), url };
      let asked = first;
      const leaseId = this.#world.ids.next("lease");
      const units = { ...toUnits(resources, "resources of the task") };
      const ask = { leaseId, jobId: this.jobId, namespace: "sim", units, ...(pgId && { pgId }), bundleIndex: -1 };
      try {
        let passedOn = false;
        let lease: TaskLease | undefined;
        while (!lease) {
          const limit = { timeoutMs: leftMs() };
          const request = { ...ask, env: {}, isolation: "env" as const, passedOn };
          const answer = await asked.raylet.invoke(taskLease, request, limit).catch((error: unknown) => {
            // It may wait at the first one only. A grant that crossed the cancel of a late request would stay for ever.
            if (!passedOn) throw error;
            void asked.raylet.invoke(taskRelease, { leaseId }).catch(() => {}); // with its raylet gone the lease is too
            return {};
          });
          const { elsewhere } = answer as TaskLeaseAnswer;
          lease = (answer as TaskLeaseAnswer).lease;
          passedOn = elsewhere?.wait === false;
          if (lease) break;
          if (!elsewhere) await delay(this.#clock, REFUSED_PAUSE_MS);
          const at = elsewhere?.url ?? HEAD_URL;
          asked = elsewhere ? { raylet: rayletOf(elsewhere.nodeId, at), url: at } : first;
        }
        const peer = this.#endpoint.connect({ to: lease.address, url: asked.url, purpose: "data" });
        return await peer.call(method, encodeValues([token, leaseId, 0, ms, ...more]), { timeoutMs: leftMs() });
      } finally {
        void asked.raylet.invoke(taskRelease, { leaseId }).catch(() => {}); // with its raylet gone the lease is too
      }
    });
  }

  /** Notes a call and its end (P11). */
  async record<T>(
    actorId: string,
    timeoutMs: number,
    run: (token: string, leftMs: () => number) => Promise<T>,
  ): Promise<T> {
    const startedMs = this.#clock.now();
    const token = `${this.machine}#${++this.#tokens}`;
    const boundAtMs = startedMs + timeoutMs + BOUND_SLACK_MS;
    const record = { token, actorId, boundAtMs, endedAtMs: undefined, outcome: undefined };
    this.#world.history.called(record);
    let outcome = "ok";
    try {
      return await run(token, () => Math.max(1, Math.floor(startedMs + timeoutMs - this.#clock.now())));
    } catch (error) {
      outcome = asWhiprayError(error).code;
      throw error;
    } finally {
      this.#world.history.callEnded(record, outcome, this.#clock.now());
    }
  }

  /** The session of the last call while it stands, else where the head says that the actor is. */
  async #find(actorId: string, timeoutMs: number): Promise<{ row: ActorRow; peer: Peer }> {
    const known = this.#found.get(actorId);
    if (known && !known.peer.closed) return known;
    const row = await this.settled(actorId, 0, timeoutMs);
    if (row.state !== "ALIVE") throw new WhiprayError({ code: "ACTOR_DIED", message: `${actorId} is ${row.state}` });
    const peer = this.#endpoint.connect({ to: row.address!, url: row.url ?? HEAD_URL, purpose: "data" });
    const found = { row, peer };
    this.#found.set(actorId, found);
    return found;
  }

  #lane(peer: Peer): { name: string; next: number } {
    const known = this.#lanes.get(peer) ?? { name: `${this.machine}:${this.#lanes.size}`, next: 0 };
    this.#lanes.set(peer, known);
    return known;
  }

  async #note<T>(asked: object | undefined, what: "created" | "ended", answer: Promise<T>): Promise<T> {
    const note = (word: string): void => void (asked && Object.assign(asked, { [what]: word }));
    note("unknown");
    try {
      const reply = await answer;
      // Nothing was found to end: it may come yet, from a request that was overtaken.
      const found = what === "created" || (reply as { found?: boolean }).found !== false;
      note(found ? "ok" : "unknown");
      return reply;
    } catch (error) {
      // Only an answer of the head is a refusal; anything else leaves open what happened.
      const { code } = asWhiprayError(error);
      note(ASK_AGAIN.has(code) || code === "DEADLINE_EXCEEDED" || code === "ACTOR_UNAVAILABLE" ? "unknown" : "refused");
      throw error;
    }
  }

  /** Says goodbye: what the job owns ends. */
  async close(): Promise<void> {
    await this.ask(jobClose, { jobId: this.jobId });
    await this.#endpoint.close();
  }

  /** The driver's process dies: nobody hears of its calls any more. */
  kill(): void {
    const { history, network } = this.#world;
    history.disown(this.jobId);
    for (const call of history.open) {
      if (call.token.startsWith(`${this.machine}#`)) history.callEnded(call, "caller died", this.#clock.now());
    }
    this.#clock.kill();
    network.cut((host) => host === this.machine);
  }
}
