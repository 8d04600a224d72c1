import { type Clock, type Logger, WhiprayError } from "@whipray/core";
import {
  type DeathCause,
  type Endpoint,
  type IncomingCall,
  type Peer,
  type TaskLease,
  type TaskLeaseAsk,
  taskBlocked,
  taskHost,
  taskLease,
  taskRelease,
  taskWaiting,
} from "@whipray/rpc";
import { causeError } from "./death-cause.ts";
import { type DeviceVisibility, workerEnvironment } from "./engine-environment.ts";
import type { GrantLook } from "./grant-look.ts";
import type { HeadLink } from "./head-link.ts";
import { IdleTaskWorkers } from "./idle-task-workers.ts";
import type { Lease, Ledger } from "./ledger.ts";
import type { ReadyEnv, RuntimeEnvs } from "./runtime-envs.ts";
import { TaskQueue } from "./task-queue.ts";
import type { WorkerHolds } from "./worker-hold.ts";
import { startedIn } from "./worker-start.ts";
import type { WorkerSweeps } from "./worker-sweeps.ts";
import type { Worker, Workers } from "./workers.ts";

/** Task workers that may wait idle on a node that declares fewer CPUs. */
const IDLE_WORKERS_MIN = 1;

export interface TaskServiceOptions {
  readonly endpoint: Endpoint;
  readonly head: HeadLink;
  readonly headUrl: string;
  readonly nodeId: string;
  readonly ledger: Ledger;
  readonly workers: Workers;
  readonly visibility: DeviceVisibility;
  readonly runtimeEnvs: RuntimeEnvs;
  /** How workers with devices hold their locks. */
  readonly holds?: WorkerHolds | undefined;
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
  readonly granted: PromiseWithResolvers<TaskLease>;
  readonly abort: AbortController;
  readonly ended: PromiseWithResolvers<void>;
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

  constructor(options: TaskServiceOptions) {
    this.#options = options;
    const { endpoint, workers, clock, ledger } = options;
    const cpus = Math.floor((ledger.view().free["CPU"] ?? 0) / 10_000);
    this.#idle = new IdleTaskWorkers(clock, Math.max(IDLE_WORKERS_MIN, cpus), (worker) => void workers.stop(worker, 0));
    endpoint.serve(taskLease, (ask, call) => this.#lease(ask, call));
    endpoint.serve(taskRelease, ({ leaseId }, call) => {
      const hosted = this.#leases.get(leaseId);
      if (hosted?.caller === call.peer) this.#release(hosted);
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
  }

  #lease(ask: TaskLeaseAsk, call: IncomingCall): Promise<TaskLease> {
    const { leaseId, jobId, units, pgId, bundleIndex, env, isolation, runtimeEnv } = ask;
    const known = this.#leases.get(leaseId);
    if (known) return known.granted.promise;
    const { head, nodeId, ledger } = this.#options;
    if (head.leaving) {
      throw new WhiprayError({ code: "NODE_LEAVING", message: `${nodeId} is leaving`, retryable: true });
    }
    // Its end was told already: nothing would end this lease.
    if (call.peer.closed) throw new WhiprayError({ code: "CANCELLED", message: `${call.peer.address} is gone` });
    if (pgId !== undefined && !ledger.runningBundles().some((bundle) => bundle.pgId === pgId)) throw bundleGone(pgId);
    const hosted: HostedLease = {
      leaseId,
      shape: JSON.stringify([units, pgId, bundleIndex]),
      kind: JSON.stringify([jobId, Object.entries(env).sort(), isolation, runtimeEnv]),
      ask,
      caller: call.peer,
      granted: Promise.withResolvers(),
      abort: new AbortController(),
      ended: Promise.withResolvers(),
      ...{ lease: undefined, worker: undefined, ending: undefined },
    };
    this.#leases.set(leaseId, hosted);
    const caller = this.#caller(call.peer);
    caller.leases.add(hosted);
    caller.jobs.add(jobId);
    this.#queue.add(hosted);
    hosted.granted.promise.catch(() => {}); // a caller that is gone hears nothing
    call.onAbort((reason) => {
      hosted.granted.reject(reason);
      void this.end(leaseId, { kind: "OUT_OF_SCOPE", message: "its caller withdrew the request" });
    });
    this.pump();
    return hosted.granted.promise;
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
    const granted = this.#queue.grant((hosted) => {
      const { leaseId, ask } = hosted;
      const { units, pgId, bundleIndex } = ask;
      const answer = ledger.acquire({ leaseId, units, placementUnits: units, devices: [], pgId, bundleIndex });
      if (answer.ok) hosted.lease = answer.lease;
      return answer;
    });
    for (const hosted of granted) void this.#start(hosted, hosted.lease!);
    if (granted.length > 0) head.viewChanged();
    this.#pumping = false;
  }

  async #start(hosted: HostedLease, lease: Lease): Promise<void> {
    const { holds, grants } = this.#options;
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
      hosted.granted.resolve({ address, inc: peer.incarnation, socket, pid, devices: [...lease.devices] });
    } catch (thrown) {
      const error = holds?.refusal(thrown) ?? thrown;
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
    const { workers, visibility, holds, runtimeEnvs } = this.#options;
    const { env: asked, isolation, runtimeEnv } = hosted.ask;
    const env = workerEnvironment(asked, lease.devices, isolation, visibility);
    const ready = await runtimeEnvs.prepare(runtimeEnv, hosted.abort.signal);
    try {
      const worker = await workers.take(env, hosted.abort.signal, startedIn(ready.workingCopy, holds?.wrap(lease)));
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
  #release(hosted: HostedLease): void {
    const { worker, lease, ask, kind } = hosted;
    if (!worker || lease?.devices.length !== 0) {
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
