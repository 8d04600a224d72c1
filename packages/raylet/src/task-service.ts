import { asWhiprayError, type Clock, type Logger, type Timer, WhiprayError } from "@whipray/core";
import {
  type DeathCause,
  type Endpoint,
  type IncomingCall,
  nodeHold,
  type Peer,
  type TaskLeaseAnswer,
  type TaskLeaseAsk,
  taskBlocked,
  taskHost,
  taskKill,
  taskLease,
  taskRelease,
  taskWaiting,
} from "@whipray/rpc";
import type { ClusterView } from "./cluster-view.ts";
import { causeError } from "./death-cause.ts";
import { type DeviceVisibility, workerEnvironment } from "./engine-environment.ts";
import type { GrantLook } from "./grant-look.ts";
import type { HeadLink } from "./head-link.ts";
import { IdleTaskWorkers } from "./idle-task-workers.ts";
import type { Lease, Ledger } from "./ledger.ts";
import type { ReadyEnv, RuntimeEnvs } from "./runtime-envs.ts";
import { type QueueAnswer, TaskQueue } from "./task-queue.ts";
import type { TaskRouter } from "./task-router.ts";
import type { WorkerGuards } from "./worker-guards.ts";
import type { WorkerSweeps } from "./worker-sweeps.ts";
import type { Worker, Workers } from "./workers.ts";

/** Task workers that may wait idle on a node that declares fewer CPUs. */
const IDLE_WORKERS_MIN = 1;
/** A task's lease lives once. */
const TASK_EPOCH = 0;

export interface TaskServiceOptions {
  readonly endpoint: Endpoint;
  readonly head: HeadLink;
  readonly headUrl: string;
  readonly nodeId: string;
  readonly ledger: Ledger;
  readonly view: ClusterView;
  readonly router: TaskRouter;
  readonly workers: Workers;
  readonly visibility: DeviceVisibility;
  readonly workerGuards: WorkerGuards;
  /** The raylet's own environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly runtimeEnvs: RuntimeEnvs;
  /** Looks at devices before they are used. */
  readonly grants?: GrantLook | undefined;
  readonly sweeps: WorkerSweeps;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** A request, and the lease that came of it, until nothing of it is left. */
interface HostedLease {
  readonly leaseId: string;
  readonly shape: string;
  /** What a worker must have been made for to serve it. */
  readonly kind: string;
  readonly ask: TaskLeaseAsk;
  readonly caller: Peer;
  readonly granted: PromiseWithResolvers<TaskLeaseAnswer>;
  readonly abort: AbortController;
  readonly ended: PromiseWithResolvers<void>;
  /** It may be passed on, or wait for another node. */
  readonly roams: boolean;
  readonly mayRunHere: boolean;
  /** Why no node can ever run it, as far as is known. */
  why: string | undefined;
  lease: Lease | undefined;
  worker: Worker | undefined;
  ending: DeathCause | undefined;
}

interface Caller {
  readonly isDriver: boolean;
  readonly leases: Set<HostedLease>;
  readonly jobs: Set<string>;
}

/** Leases of worker processes for tasks, next to their callers: `task.lease`, `task.release`, `task.blocked` (design.md, mechanism 4). */
export class TaskService {
  readonly #options: TaskServiceOptions;
  readonly #queue = new TaskQueue<HostedLease>();
  readonly #leases = new Map<string, HostedLease>();
  readonly #callers = new Map<Peer, Caller>();
  readonly #idle: IdleTaskWorkers;
  #pumping = false;
  #routing: Timer | undefined;

  constructor(options: TaskServiceOptions) {
    this.#options = options;
    const { endpoint, workers, clock, ledger } = options;
    const cpus = Math.floor((ledger.view().free["CPU"] ?? 0) / 10_000);
    this.#idle = new IdleTaskWorkers(clock, Math.max(IDLE_WORKERS_MIN, cpus), (worker) => void workers.stop(worker, 0));
    endpoint.serve(taskLease, (ask, call) => this.#lease(ask, call));
    endpoint.serve(taskRelease, ({ leaseId, end = false }, call) => {
      const hosted = this.#leases.get(leaseId);
      if (hosted?.caller === call.peer) this.#release(hosted, end);
      return {};
    });
    endpoint.serve(taskKill, async ({ leaseId }, call) => {
      const mine = this.#leases.get(leaseId)?.caller === call.peer;
      if (mine) await this.end(leaseId, { kind: "RAY_KILL", message: "its task was cancelled by force" });
      return {};
    });
    endpoint.serve(taskWaiting, ({ leaseId }) => {
      const reason = this.#queue.why(leaseId)?.slice(0, 1_024);
      return reason === undefined ? {} : { reason };
    });
    endpoint.serve(taskBlocked, ({ blocked }, call) => {
      const hosted = [...this.#leases.values()].find(({ worker }) => worker?.address === call.peer.address);
      if (hosted) ledger.lend(hosted.leaseId, blocked);
      options.head.viewChanged();
      return {};
    });
    endpoint.serve(nodeHold, ({ nodeEpoch, units }) =>
      options.head.inTurn(nodeEpoch, async () => {
        ledger.hold(units);
        this.pump();
        return {};
      }),
    );
  }

  /** Requests, and leases that are not over. */
  get size(): number {
    return this.#leases.size;
  }

  #lease(ask: TaskLeaseAsk, call: IncomingCall): Promise<TaskLeaseAnswer> {
    const { leaseId, jobId, units, pgId, bundleIndex, env, isolation, runtimeEnv } = ask;
    const known = this.#leases.get(leaseId);
    if (known) return known.granted.promise;
    const { head, nodeId, ledger, router } = this.#options;
    if (head.leaving) {
      throw new WhiprayError({ code: "NODE_LEAVING", message: `${nodeId} is leaving`, retryable: true });
    }
    // Its end was told already: nothing would end this lease.
    if (call.peer.closed) throw new WhiprayError({ code: "CANCELLED", message: `${call.peer.address} is gone` });
    if (pgId !== undefined && !ledger.runningBundles().some((bundle) => bundle.pgId === pgId)) throw bundleGone(pgId);
    const hosted: HostedLease = {
      leaseId,
      shape: JSON.stringify([units, pgId, bundleIndex, ask.labels, ask.fallback, ask.nodeId, ask.nodeSoft]),
      kind: JSON.stringify([jobId, Object.entries(env).sort(), isolation, runtimeEnv, units["CPU"]]),
      ask,
      caller: call.peer,
      granted: Promise.withResolvers(),
      abort: new AbortController(),
      ended: Promise.withResolvers(),
      roams: pgId === undefined && !ask.passedOn,
      mayRunHere: pgId !== undefined || router.mayRunHere(ask),
      ...{ why: undefined, lease: undefined, worker: undefined, ending: undefined },
    };
    this.#leases.set(leaseId, hosted);
    const caller = this.#caller(call.peer);
    caller.leases.add(hosted);
    caller.jobs.add(jobId);
    hosted.granted.promise.catch(() => {}); // a caller that is gone hears nothing
    call.onAbort((reason) => {
      hosted.granted.reject(reason);
      void this.end(leaseId, { kind: "OUT_OF_SCOPE", message: "its caller withdrew the request" });
    });
    if (hosted.roams) void this.#route(hosted, true);
    else this.#wait(hosted);
    if (ask.passedOn && this.#queue.why(leaseId) !== undefined) this.#refuse(hosted);
    return hosted.granted.promise;
  }

  #wait(hosted: HostedLease): void {
    this.#queue.add(hosted);
    this.pump();
  }

  /** Its caller was sent here by a view that is old by now. */
  #refuse({ leaseId, granted }: HostedLease): void {
    const message = `${this.#options.nodeId} has no room now: ${this.#queue.why(leaseId)}`;
    granted.reject(new WhiprayError({ code: "NODE_BUSY", message, retryable: true }));
    void this.end(leaseId, { kind: "OUT_OF_SCOPE", message });
  }

  /** Grants it here, passes it on, or leaves it waiting; then it is looked at again with newer views of the cluster. */
  async #route(hosted: HostedLease, isNew: boolean): Promise<void> {
    const { leaseId, ask, granted } = hosted;
    try {
      const route = await this.#options.router.route(ask);
      if (this.#leases.get(leaseId) !== hosted || hosted.lease) return; // withdrawn, or granted meanwhile
      if (!route.here) {
        granted.resolve({ elsewhere: route.at });
        await this.end(leaseId, { kind: "OUT_OF_SCOPE", message: `passed on to ${route.at.nodeId}` });
        return;
      }
      hosted.why = route.why;
      if (isNew) this.#wait(hosted);
      this.#routeLater();
    } catch (error) {
      granted.reject(error);
      void this.end(leaseId, { kind: "UNSCHEDULABLE", message: asWhiprayError(error).message });
    }
  }

  #routeLater(): void {
    const { clock, view } = this.#options;
    if (this.#routing || this.#queue.length === 0) return;
    this.#routing = clock.after(view.everyMs, () => void this.#routeAll());
  }

  async #routeAll(): Promise<void> {
    await this.#options.view.refresh();
    this.#routing = undefined;
    const roaming = [...this.#leases.values()].filter(({ roams, leaseId }) => roams && this.#queue.why(leaseId));
    await Promise.all(roaming.map((hosted) => this.#route(hosted, false)));
    if (roaming.length > 0) this.#routeLater();
  }

  #caller(peer: Peer): Caller {
    const known = this.#callers.get(peer);
    if (known) return known;
    const caller: Caller = { isDriver: peer.role === "driver", leases: new Set(), jobs: new Set() };
    this.#callers.set(peer, caller);
    peer.onClose(() => this.#gone(peer));
    return caller;
  }

  /** A process that is known to be gone, whatever its session says. */
  callerGone(address: string): void {
    for (const caller of this.#callers.keys()) if (caller.address === address) this.#gone(caller);
  }

  #gone(peer: Peer): void {
    const caller = this.#callers.get(peer);
    if (!caller) return;
    this.#callers.delete(peer);
    const cause: DeathCause = { kind: "OWNER_DIED", message: `its caller ${peer.address} is gone` };
    for (const { leaseId } of caller.leases) void this.end(leaseId, cause);
    // A job is over with its driver.
    if (caller.isDriver) for (const jobId of caller.jobs) this.#idle.clear(jobId);
  }

  /** Something may be free: grants what can be. */
  pump(): void {
    if (this.#pumping || this.#queue.length === 0) return;
    this.#pumping = true; // a grant changes the view, which asks to pump
    const { ledger, head } = this.#options;
    const granted = this.#queue.grant((hosted) => this.#acquire(hosted, ledger));
    for (const hosted of granted) void this.#start(hosted, hosted.lease!);
    if (granted.length > 0) head.viewChanged();
    this.#pumping = false;
  }

  #acquire(hosted: HostedLease, ledger: Ledger): QueueAnswer {
    const { leaseId, ask, mayRunHere, why } = hosted;
    if (!mayRunHere) return { ok: false, reason: why ?? "busy: the nodes that can hold it are full" };
    const { units, pgId, bundleIndex } = ask;
    const wish = { leaseId, units, placementUnits: units, devices: [], pgId, bundleIndex, yields: true };
    const answer = ledger.acquire(wish);
    if (!answer.ok) return { ok: false, reason: `busy: ${answer.reason}` };
    hosted.lease = answer.lease;
    return answer;
  }

  async #start(hosted: HostedLease, lease: Lease): Promise<void> {
    const { grants } = this.#options;
    try {
      const busy = lease.devices.length > 0 ? await grants?.refusal(lease.devices) : undefined;
      if (busy !== undefined && !hosted.ending) {
        this.#again(hosted);
        return;
      }
      const idle = lease.devices.length === 0 ? this.#idle.take(hosted.kind) : undefined;
      hosted.worker = idle;
      const worker = idle ?? (await this.#newWorker(hosted, lease));
      if (hosted.ending) throw causeError(worker.address, hosted.ending);
      const { address, socket, pid, peer } = worker;
      const granted = { address, inc: peer.incarnation, socket, pid, devices: [...lease.devices] };
      hosted.granted.resolve({ lease: granted });
    } catch (error) {
      hosted.granted.reject(error);
      if (hosted.worker) void this.#options.workers.stop(hosted.worker, 0);
      else this.#finish(hosted);
    }
  }

  /** What was granted cannot be used: it waits for other devices, with what is against these as the reason. */
  #again(hosted: HostedLease): void {
    const { ledger, head } = this.#options;
    ledger.release(hosted.leaseId);
    hosted.lease = undefined;
    this.#queue.add(hosted);
    head.viewChanged();
  }

  async #newWorker(hosted: HostedLease, lease: Lease): Promise<Worker> {
    const { workers, visibility, workerGuards, runtimeEnvs } = this.#options;
    const { env: asked, isolation, runtimeEnv } = hosted.ask;
    const env = workerEnvironment(asked, lease, isolation, visibility, this.#options.env);
    const ready = await runtimeEnvs.prepare(runtimeEnv, hosted.abort.signal);
    try {
      const spawn = workerGuards.spawnFor(lease, TASK_EPOCH);
      const worker = await workers.take(env, hosted.abort.signal, { spawn, cwd: ready.workingCopy?.path });
      hosted.worker = worker;
      void worker.child.exited.then(() => this.#workerEnded(worker, ready));
      await this.#host(hosted, lease, worker, { env, workingCopy: ready.workingCopy });
      return worker;
    } catch (error) {
      if (!hosted.worker) ready.release();
      throw error;
    }
  }

  #host(
    { ask }: HostedLease,
    { devices }: Lease,
    worker: Worker,
    made: { env: Record<string, string>; workingCopy: ReadyEnv["workingCopy"] },
  ): Promise<unknown> {
    const { jobId, namespace, runtimeEnv } = ask;
    const head = this.#options.headUrl;
    return worker.peer.invoke(taskHost, { jobId, namespace, devices: [...devices], runtimeEnv, head, ...made });
  }

  /** The worker is whole and nothing runs in it: the next of its kind may have it, unless it holds devices. */
  #release(hosted: HostedLease, end: boolean): void {
    const { worker, lease, ask, kind } = hosted;
    if (hosted.ending) return; // its worker is being killed: nobody may have it
    if (end || !worker || lease?.devices.length !== 0) {
      void this.end(hosted.leaseId, { kind: "OUT_OF_SCOPE", message: "its caller needs it no more" });
      return;
    }
    if (!this.#options.workers.find(worker.address)) return; // it has just ended, which ends the lease
    hosted.worker = undefined;
    this.#idle.put(worker, ask.jobId, kind);
    this.#finish(hosted);
  }

  /** Ends a lease with what runs there; resolves when nothing is left. Unknown ones are fine. */
  async end(leaseId: string, cause: DeathCause): Promise<void> {
    const hosted = this.#leases.get(leaseId);
    if (!hosted) return;
    hosted.ending ??= cause;
    if (this.#queue.withdraw(leaseId)) {
      hosted.granted.reject(new WhiprayError({ code: "CANCELLED", message: cause.message }));
      this.#finish(hosted);
    } else if (!hosted.lease) {
      hosted.granted.reject(new WhiprayError({ code: "CANCELLED", message: cause.message }));
      this.#finish(hosted); // it is being routed
    } else if (hosted.worker) void this.#options.workers.stop(hosted.worker, 0);
    else hosted.abort.abort(); // `#start` waits for a process
    await hosted.ended.promise;
  }

  /** Bundles of a group are gone from here: requests for them look elsewhere. */
  bundlesGone(pgId: string, indices: readonly number[]): void {
    for (const { leaseId, ask, granted } of this.#leases.values()) {
      const inside = ask.pgId === pgId && (ask.bundleIndex === -1 || indices.includes(ask.bundleIndex));
      if (!inside || this.#queue.why(leaseId) === undefined) continue;
      const gone = bundleGone(pgId);
      granted.reject(gone);
      void this.end(leaseId, { kind: "GROUP_REMOVED", message: gone.message });
    }
  }

  async endAll(cause: DeathCause): Promise<void> {
    await Promise.all([...this.#leases.keys()].map((leaseId) => this.end(leaseId, cause)));
  }

  /** No more workers are kept. */
  close(): void {
    this.#routing?.cancel();
    this.#idle.clear();
  }

  async #workerEnded(worker: Worker, runtimeEnv: ReadyEnv): Promise<void> {
    runtimeEnv.release();
    this.#idle.ended(worker);
    const hosted = [...this.#leases.values()].find((one) => one.worker === worker);
    await this.#options.sweeps.sweep(worker, hosted?.lease?.devices ?? []);
    if (hosted) this.#finish(hosted);
  }

  #finish(hosted: HostedLease): void {
    const { ledger, head, logger } = this.#options;
    this.#leases.delete(hosted.leaseId);
    this.#callers.get(hosted.caller)?.leases.delete(hosted);
    if (ledger.release(hosted.leaseId)) head.viewChanged();
    logger.debug("a task lease ended", { leaseId: hosted.leaseId, cause: hosted.ending?.message ?? "released" });
    hosted.ended.resolve();
  }
}

/** Retryable: its group may be placed elsewhere, or the head knows that it was removed. */
function bundleGone(pgId: string): WhiprayError {
  return new WhiprayError({ code: "BUNDLE_GONE", message: `No bundle of ${pgId} is on this node`, retryable: true });
}
