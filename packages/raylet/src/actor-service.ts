import { type Clock, delay, type Logger, WhiprayError } from "@whipray/core";
import {
  type ActorStarted,
  actorHost,
  actorStart,
  actorStop,
  type DeathCause,
  type Endpoint,
  type Infer,
} from "@whipray/rpc";
import type { CauseBook } from "./cause-book.ts";
import { type Corpse, creationFailed, deathCause, showExit, startFailed, withCorpse } from "./death-cause.ts";
import { type DeviceVisibility, workerEnvironment } from "./engine-environment.ts";
import type { EngineService } from "./engine-service.ts";
import type { GrantLook } from "./grant-look.ts";
import type { HeadLink } from "./head-link.ts";
import { devicesOf, type HostedActor, type HostedActors } from "./hosted-actors.ts";
import type { KnownLogs } from "./known-logs.ts";
import type { Ledger } from "./ledger.ts";
import type { PortService } from "./port-service.ts";
import type { ProcessExit } from "./processes.ts";
import type { RuntimeEnvs } from "./runtime-envs.ts";
import type { WorkerGuards } from "./worker-guards.ts";
import type { WorkerSweeps } from "./worker-sweeps.ts";
import type { Worker, Workers } from "./workers.ts";

/** How long a broken connection waits for the news that the process behind it ended. */
const EXIT_NEWS_MS = 1_000;

type ActorStart = Infer<(typeof actorStart)["request"]>;
type ActorStopped = Infer<(typeof actorStop)["reply"]>;

export interface ActorServiceOptions {
  readonly endpoint: Endpoint;
  readonly head: HeadLink;
  readonly headUrl: string;
  readonly nodeId: string;
  readonly ledger: Ledger;
  readonly actors: HostedActors;
  readonly workers: Workers;
  readonly engines: EngineService;
  readonly ports: PortService;
  readonly sweeps: WorkerSweeps;
  readonly causes: CauseBook;
  readonly logs: KnownLogs;
  readonly visibility: DeviceVisibility;
  readonly workerGuards: WorkerGuards;
  /** The raylet's own environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly runtimeEnvs: RuntimeEnvs;
  /** Looks at devices before they are used. */
  readonly grants?: GrantLook | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Starts and ends actors for the head: `actor.start`, `actor.stop`, and `actor.ended` when one ends by itself. */
export class ActorService {
  readonly #options: ActorServiceOptions;

  constructor(options: ActorServiceOptions) {
    this.#options = options;
    const { endpoint, head } = options;
    endpoint.serve(actorStart, (request, call) =>
      head.inTurn(request.nodeEpoch, () => this.#start(request, call.signal)),
    );
    endpoint.serve(actorStop, (request) => head.inTurn(undefined, () => this.#stop(request)));
  }

  async #stop({ actorId, epoch, graceMs, cause }: Infer<(typeof actorStop)["request"]>): Promise<ActorStopped> {
    const { actors, causes, ledger } = this.#options;
    const actor = actors.get(actorId);
    const found = actor !== undefined && actor.epoch <= epoch;
    // Its start may still wait for the end of an older one: then it finds that it has ended.
    if (actor?.epoch !== epoch) causes.put(`${actorId} ${epoch}`, cause);
    if (found) await this.end(actor, cause, graceMs);
    return { found, view: ledger.view() };
  }

  async #start(request: ActorStart, asked: AbortSignal): Promise<ActorStarted> {
    const { head, ledger, actors, causes } = this.#options;
    const { spec, epoch, leaseId, devices } = request;
    for (let known = actors.get(spec.actorId); known; known = actors.get(spec.actorId)) {
      if (known.epoch > epoch) throw stale(spec.actorId, epoch, known.epoch);
      // The head asks again when it lost the first answer: same actor, same epoch, same process.
      if (known.epoch === epoch) {
        known.asked = asked;
        return known.started;
      }
      await this.end(known, { kind: "RAY_KILL", message: `replaced by epoch ${epoch}` }, 0);
    }
    // A new head asks again for a start whose end its predecessor could not write down: an epoch lives once.
    const ended = head.untold(spec.actorId, epoch) ?? causes.get(`${spec.actorId} ${epoch}`);
    if (ended) return { ok: false, failed: ended, view: ledger.view() };
    const { units, placementUnits, links, pgId, bundleIndex } = spec;
    const answer = ledger.acquire({ leaseId, units, placementUnits, devices, links, pgId, bundleIndex });
    if (!answer.ok) return { ok: false, refused: answer.reason.slice(0, 1_024), view: ledger.view() };
    const actor: HostedActor = {
      ...{ spec, epoch, lease: answer.lease, claim: undefined, runtimeEnv: undefined },
      ...{ worker: undefined, alive: false, ending: undefined, graceMs: undefined },
      started: Promise.resolve({ ok: false, view: ledger.view() }),
      asked,
      abort: new AbortController(),
      ended: Promise.withResolvers<void>(),
    };
    actors.add(actor);
    head.viewChanged();
    actor.started = this.#run(actor);
    return actor.started;
  }

  async #run(actor: HostedActor): Promise<ActorStarted> {
    const { workers, visibility, ledger, head, workerGuards, grants, nodeId, logs, runtimeEnvs } = this.#options;
    const { spec, lease } = actor;
    try {
      const busy = lease.devices.length > 0 ? await grants?.refusal(lease.devices) : undefined;
      if (busy !== undefined && !actor.ending) {
        await this.#cleanUp(actor, startFailed(new WhiprayError({ code: "DEVICE_BUSY", message: busy }), nodeId));
        return { ok: false, refused: busy.slice(0, 1_024), view: ledger.view() };
      }
      const env = workerEnvironment(spec.env, lease, spec.isolation, visibility, this.#options.env);
      actor.runtimeEnv = await runtimeEnvs.prepare(spec.runtimeEnv, actor.abort.signal);
      const spawn = workerGuards.spawnFor(lease, actor.epoch);
      const worker = await workers.take(env, actor.abort.signal, { spawn, cwd: actor.runtimeEnv.workingCopy?.path });
      actor.worker = worker;
      logs.name(spec.actorId, worker.log);
      void worker.child.exited.then((exit) => this.#workerEnded(actor, worker, exit));
      if (actor.ending) return await this.#failed(actor, actor.ending);
      await this.#host(actor, worker, env);
      if (actor.ending) return await this.#failed(actor, actor.ending);
      actor.alive = true;
      workers.prestart();
      // The head that asked is gone and this answer with it: a registration tells that the actor lives, or learns that it must go.
      if (actor.asked.aborted) head.registerAgain();
      const { address, socket, pid, peer } = worker;
      const where = { address, inc: peer.incarnation, socket, pid, devices: [...lease.devices] };
      const bundle = lease.bundleIndex === undefined ? {} : { bundleIndex: lease.bundleIndex };
      return { ok: true, ...where, ...bundle, view: ledger.view() };
    } catch (error) {
      if (!actor.worker && error instanceof WhiprayError && error.retryable && !actor.ending) {
        // No memory or descriptors left for a process now, or a device's lock is held: as good as no room.
        await this.#cleanUp(actor, creationFailed(error, this.#options.nodeId));
        return { ok: false, refused: error.message.slice(0, 1_024), view: ledger.view() };
      }
      return await this.#failed(actor, actor.ending ?? (await this.#startCause(actor, error)));
    }
  }

  /** Resolves when the constructor is done. */
  #host(actor: HostedActor, worker: Worker, env: Record<string, string>): Promise<unknown> {
    const { spec, epoch, lease, runtimeEnv } = actor;
    const { args, ...rest } = spec;
    return worker.peer.invoke(actorHost, {
      spec: { ...rest, args: [] },
      epoch,
      leaseId: lease.leaseId,
      devices: [...lease.devices],
      env,
      workingCopy: runtimeEnv?.workingCopy,
      args,
      head: this.#options.headUrl,
    });
  }

  /** A process that ended is the cause; else what the constructor raised, or what kept the process from starting. */
  async #startCause(actor: HostedActor, error: unknown): Promise<DeathCause> {
    const { worker } = actor;
    const { nodeId, clock } = this.#options;
    if (!worker) return startFailed(error, nodeId);
    if (worker.peer.closed) {
      const exit = await Promise.race([worker.child.exited, delay(clock, EXIT_NEWS_MS)]);
      if (exit) {
        const message = `worker process ${worker.pid} ended with ${showExit(exit)} before the actor was ready`;
        return deathCause("WORKER_DIED", message, { nodeId, pid: worker.pid, exit, log: worker.log });
      }
    }
    return { ...creationFailed(error, nodeId), pid: worker.pid, logPath: worker.log.path };
  }

  async #failed(actor: HostedActor, cause: DeathCause): Promise<ActorStarted> {
    if (actor.worker) await this.end(actor, cause, 0);
    else await this.#cleanUp(actor, cause);
    const failed = actor.ending ?? cause;
    this.#options.causes.put(`${actor.spec.actorId} ${actor.epoch}`, failed);
    return { ok: false, failed, view: this.#options.ledger.view() };
  }

  /**
   * Ends an actor and everything it owns here; the first cause stands. Resolves when nothing is left, or when what is left is
   * quarantined. `graceMs` 0 is SIGKILL at once.
   */
  end(actor: HostedActor, cause: DeathCause, graceMs: number): Promise<void> {
    const { workers, engines, logger } = this.#options;
    actor.ending ??= cause;
    actor.graceMs = Math.min(graceMs, actor.graceMs ?? Infinity);
    logger.info("actor ends", { actorId: actor.spec.actorId, epoch: actor.epoch, cause: cause.message, graceMs });
    if (actor.worker) void workers.stop(actor.worker, graceMs);
    // `#run` waits for a process, and cleans up when it gets none.
    else actor.abort.abort();
    if (graceMs === 0) void engines.endAll(actor.spec.actorId, 0);
    return actor.ended.promise;
  }

  #workerEnded(actor: HostedActor, worker: Worker, exit: ProcessExit): void {
    const { nodeId, causes } = this.#options;
    const corpse: Corpse = { nodeId, pid: worker.pid, exit, log: worker.log };
    // Exit code 0 is the actor's own wish (Ray: exit_actor, INTENDED_USER_EXIT): it is not restarted.
    const kind = exit.code === 0 ? "EXITED" : "WORKER_DIED";
    const own = deathCause(kind, `worker process ${worker.pid} ended with ${showExit(exit)}`, corpse);
    const cause = actor.ending ? withCorpse(actor.ending, corpse) : own;
    actor.ending ??= cause;
    causes.put(worker.address, cause);
    void this.#cleanUp(actor, cause);
  }

  /** The order of release (reliability 7.2, rule 6): every process gone, then the ledger, then the head. */
  async #cleanUp(actor: HostedActor, cause: DeathCause): Promise<void> {
    const { engines, ports, ledger, actors, head, sweeps } = this.#options;
    const { lease, spec, epoch, worker } = actor;
    actor.ending ??= cause;
    await Promise.all([engines.endAll(spec.actorId, actor.graceMs), worker && sweeps.sweep(worker, devicesOf(actor))]);
    actor.runtimeEnv?.release();
    ports.releaseAll(spec.actorId);
    if (actor.claim) ledger.release(actor.claim.leaseId);
    ledger.release(lease.leaseId);
    actors.remove(actor);
    head.viewChanged();
    if (actor.alive) head.ended({ actorId: spec.actorId, epoch, cause });
    actor.ended.resolve();
  }
}

function stale(actorId: string, epoch: number, current: number): WhiprayError {
  return new WhiprayError({
    code: "STALE_EPOCH",
    message: `${actorId} is at epoch ${current} here; epoch ${epoch} was refused`,
    details: { actorId, epoch, current },
  });
}
