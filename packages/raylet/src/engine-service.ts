import {
  asWhiprayError,
  type Clock,
  delay,
  type Logger,
  type ResourceUnits,
  UNITS_PER_ONE,
  WhiprayError,
} from "@whipray/core";
import { threadVariables } from "@whipray/devices";
import {
  type DeviceGrant,
  type Endpoint,
  type EngineStart,
  engineEnded,
  engineStart,
  engineStop,
  type Peer,
} from "@whipray/rpc";
import type { CauseBook } from "./cause-book.ts";
import { deathCause, showExit } from "./death-cause.ts";
import { type DeviceVisibility, deviceCounts, engineEnvironment } from "./engine-environment.ts";
import type { GrantLook } from "./grant-look.ts";
import { ENGINE_MARK, type GuardedTree, type Guards, type TreeEnd } from "./guards.ts";
import { devicesOf, type HostedActor, type HostedActors } from "./hosted-actors.ts";
import type { KnownLogs } from "./known-logs.ts";
import type { Ledger } from "./ledger.ts";
import type { LogWriter } from "./logs.ts";
import type { NodeDevice } from "./node-identity.ts";
import type { ProcessExit } from "./processes.ts";
import type { Quarantine } from "./quarantine.ts";
import { NODE_MARK, RAYLET_MARK } from "./runtime-directory.ts";
import type { Terminal } from "./terminal.ts";
import type { Attachable } from "./terminal-service.ts";

/** How long the end of an engine waits for what it wrote last, while other processes of its tree live on. */
const LAST_WORDS_MS = 500;
/** Engines that one actor may run at a time. */
export const ENGINES_PER_ACTOR_LIMIT = 256;
/** Variables of the dynamic loader: they act at exec alone, so the engine host refuses them later. */
const LOADER_VARIABLES = ["LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT"];

/** Files that only the engine and we may read. */
export interface Secrets {
  /** Writes a secret and gives its path. */
  write(name: string, text: string): Promise<string>;
  remove(name: string): Promise<void>;
}

export interface EngineServiceOptions {
  readonly endpoint: Endpoint;
  readonly nodeId: string;
  readonly cluster: string;
  readonly actors: HostedActors;
  readonly ledger: Ledger;
  readonly guards: Guards;
  readonly logs: KnownLogs;
  readonly secrets: Secrets;
  readonly clock: Clock;
  readonly causes: CauseBook;
  readonly quarantine: Quarantine;
  readonly visibility: DeviceVisibility;
  /** Looks at devices before they are claimed. */
  readonly grants?: GrantLook | undefined;
  readonly devices: readonly NodeDevice[];
  readonly logger: Logger;
  /** The raylet's own environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly cacheDirectory: string;
  /** Folder of the engine host. */
  readonly enginePythonPath: string | undefined;
  /** What starts the engine host when a request has no arguments of its own. */
  readonly engineHostArgs: readonly string[];
}

interface Engine {
  readonly engineId: string;
  readonly actor: HostedActor;
  readonly guarded: GuardedTree;
  readonly devices: readonly DeviceGrant[];
  readonly log: LogWriter;
  readonly graceMs: number;
  /** How it ended, once its last words were read. */
  readonly ended: PromiseWithResolvers<string>;
}

/** Starts and ends Python engines for the actors of this node: `engine.start`, `engine.stop`, `engine.ended`. */
export class EngineService {
  readonly #options: EngineServiceOptions;
  readonly #engines = new Map<string, Engine>();
  /** Engines that are being started; they count, and they are ended with their actor. */
  readonly #starting = new Map<string, { actorId: string; done: Promise<unknown> }>();

  constructor(options: EngineServiceOptions) {
    this.#options = options;
    options.endpoint.serve(engineStart, (request, call) => this.#start(request, call.peer));
    options.endpoint.serve(engineStop, async ({ engineId, graceMs }, call) => {
      const engine = this.#engines.get(engineId);
      if (engine && engine.actor.worker?.address !== call.peer.address) {
        throw new WhiprayError({ code: "FORBIDDEN", message: `${engineId} does not belong to ${call.peer.address}` });
      }
      return engine ? { found: true, ...(await this.#stop(engine, graceMs)) } : { found: false, killed: 0, left: 0 };
    });
  }

  terminal(engineId: string): Terminal | undefined {
    return this.#engines.get(engineId)?.guarded.terminal;
  }

  /** The engine of this id, or the engines of the actor in this worker. */
  attachable(name: string): Attachable[] {
    const named = [...this.#engines.values()].filter(({ engineId, actor }) => {
      return (
        engineId === name || actor.spec.actorId === name || actor.worker?.address === `${this.#options.nodeId}/${name}`
      );
    });
    return named.map(({ engineId, guarded, ended }) => {
      return { process: engineId, terminal: guarded.terminal, ended: ended.promise };
    });
  }

  get count(): number {
    return this.#engines.size;
  }

  async #start(request: EngineStart, peer: Peer): Promise<{ pid: number; logPath: string }> {
    const { engineId, actorId, epoch } = request;
    const actor = this.#options.actors.ofCaller(peer, actorId, epoch);
    if (this.#engines.has(engineId) || this.#starting.has(engineId)) {
      throw new WhiprayError({ code: "ENGINE_EXISTS", message: `${engineId} runs already`, details: { engineId } });
    }
    const mine = [...this.#engines.values(), ...this.#starting.values()].filter((one) => {
      return ("actor" in one ? one.actor.spec.actorId : one.actorId) === actorId;
    });
    if (mine.length >= ENGINES_PER_ACTOR_LIMIT) {
      const message = `${actorId} runs ${mine.length} engines; the limit is ${ENGINES_PER_ACTOR_LIMIT}`;
      throw new WhiprayError({ code: "LIMIT", message, details: { actorId, limit: ENGINES_PER_ACTOR_LIMIT } });
    }
    const launching = this.#launch(request, actor);
    this.#starting.set(engineId, { actorId, done: launching.catch(() => {}) });
    try {
      const engine = await launching;
      if (!actor.ending) return { pid: engine.guarded.pid, logPath: engine.log.path };
    } finally {
      this.#starting.delete(engineId);
    }
    throw new WhiprayError({ code: "ACTOR_DIED", message: `${actorId} ended while ${engineId} was started` });
  }

  async #launch(request: EngineStart, actor: HostedActor): Promise<Engine> {
    const { guards, logs, secrets, logger } = this.#options;
    const { engineId, graceMs, pty, epoch } = request;
    if (request.claim) await this.#claim(request.claim, actor);
    const devices = this.#devices(request, actor);
    const made = actor.runtimeEnv;
    const cwd = request.cwd ?? made?.workingCopy?.path ?? this.#options.cwd;
    const args = request.argv.length > 0 ? request.argv : this.#options.engineHostArgs;
    const argv = [request.python ?? made?.python ?? "python3", ...args];
    const locks = this.#locks(devices);
    const tokenFile = await secrets.write(`${engineId}.token`, request.token);
    let log: LogWriter | undefined;
    try {
      const env = this.#environment(request, actor, devices, cwd, tokenFile);
      log = logs.open(engineId, `${request.logName}-${engineId.slice(-6)}`);
      logs.name(`${actor.spec.actorId}.engine`, log);
      const named = { treeId: engineId, mark: ENGINE_MARK, epoch };
      const guarded = await guards.start({ ...named, argv, cwd, env, locks, graceMs, log, pty });
      const engine: Engine = { engineId, actor, guarded, devices, log, graceMs, ended: Promise.withResolvers() };
      this.#engines.set(engineId, engine);
      logger.info("engine started", { engineId, actorId: actor.spec.actorId, pid: guarded.pid, log: log.path });
      const told = guarded.exited.then((exit) => this.#exited(engine, exit));
      void guarded.gone.then(() => told).then(() => this.#gone(engine));
      return engine;
    } catch (thrown) {
      const error = asWhiprayError(thrown, "ENGINE_START_FAILED");
      if (log) error.at({ stderrTail: log.errorTail(), logPath: log.path });
      await log?.close();
      await this.#removeToken(engineId);
      throw error;
    }
  }

  async #removeToken(engineId: string): Promise<void> {
    const { secrets, logger } = this.#options;
    await secrets.remove(`${engineId}.token`).catch((error: unknown) => {
      logger.error("a token file was not removed", { engineId, error: String(error) });
    });
  }

  /**
   * What the actor's engines take of its bundle, once for all of them: held until nothing of the actor is left.
   * @throws WhiprayError `CLAIM_REFUSED` with what is short.
   */
  async #claim(units: ResourceUnits, actor: HostedActor): Promise<void> {
    const { leaseId, pgId, bundleIndex } = actor.lease;
    const refuse = (reason: string): WhiprayError => {
      const message = `the engines of ${actor.spec.actorId} cannot take what they claim: ${reason}`;
      return new WhiprayError({ code: "CLAIM_REFUSED", message, details: { pgId, bundleIndex, units } });
    };
    if (pgId === undefined || bundleIndex === undefined) throw refuse("it is in no bundle of a placement group");
    const ask = { leaseId: `${leaseId}/engines`, units, placementUnits: units, devices: [], pgId, bundleIndex };
    const { ledger, grants } = this.#options;
    const answer = ledger.acquire(ask);
    if (!answer.ok) throw refuse(answer.reason);
    actor.claim = answer.lease;
    // What is busy stays claimed: the actor's next engine may find it free.
    const busy = await grants?.refusal(answer.lease.devices);
    if (busy !== undefined) throw refuse(busy);
  }

  /** Devices of the lease, or the part of them that was asked for. @throws WhiprayError `INVALID_DEVICES` */
  #devices(request: EngineStart, actor: HostedActor): readonly DeviceGrant[] {
    const lease = devicesOf(actor);
    for (const wanted of request.devices ?? []) {
      const held = lease.find((device) => device.uuid === wanted.uuid);
      if (held && wanted.units <= held.units) continue;
      throw new WhiprayError({
        code: "INVALID_DEVICES",
        message: `${wanted.units / UNITS_PER_ONE} of device ${wanted.uuid} is not part of the lease of ${request.actorId}`,
        details: { uuid: wanted.uuid, granted: lease.map((device) => device.uuid) },
      });
    }
    return request.devices ?? lease;
  }

  #environment(
    request: EngineStart,
    actor: HostedActor,
    granted: readonly DeviceGrant[],
    cwd: string,
    tokenFile: string,
  ): Record<string, string> {
    const { env: inherited, visibility, nodeId, cluster, cacheDirectory, enginePythonPath } = this.#options;
    const cpu = (actor.claim ?? actor.lease).units["CPU"];
    return engineEnvironment({
      ...{ inherited, visibility, cacheDirectory, enginePythonPath, granted, cwd },
      user: request.env,
      packages: actor.runtimeEnv?.pythonPath ?? [],
      isolation: request.isolation,
      threadVariables: threadVariables(cpu === undefined ? undefined : cpu / UNITS_PER_ONE, request.env, inherited),
      own: {
        WHIPRAY_ENGINE_SOCKET: request.socket,
        WHIPRAY_ENGINE_TOKEN_FILE: tokenFile,
        WHIPRAY_ENGINE_ADDRESS: `${nodeId}/${request.engineId}`,
        WHIPRAY_LEASE: actor.lease.leaseId,
        WHIPRAY_EPOCH: String(actor.epoch),
        WHIPRAY_CLUSTER: cluster,
        // What the engine host compares with what it sees.
        ...(request.isolation === "env" && {
          WHIPRAY_DEVICES: deviceCounts(granted, visibility.untouched(request.env)),
        }),
        WHIPRAY_PROTECTED_ENV: [...new Set([...visibility.reserved(), ...LOADER_VARIABLES])].join(","),
        [NODE_MARK]: nodeId,
        [RAYLET_MARK]: this.#options.endpoint.incarnation,
      },
    });
  }

  #locks(granted: readonly DeviceGrant[]): string[] {
    const paths = granted.map(({ uuid }) => this.#options.devices.find((device) => device.uuid === uuid)?.lockPath);
    return [...new Set(paths.filter((path) => path !== undefined))];
  }

  async #exited(engine: Engine, exit: ProcessExit): Promise<void> {
    const { nodeId, causes, clock, logger } = this.#options;
    const { engineId, guarded, log, actor } = engine;
    // The guard ends the rest of the tree by itself; we want to know when it cannot.
    void this.#stop(engine, engine.graceMs);
    // The last words may still be in the pipe: all of them are here when the tree is gone, most of them a moment later.
    await Promise.race([guarded.gone, delay(clock, LAST_WORDS_MS)]);
    const message = `engine ${engineId} (pid ${guarded.pid}) ended with ${showExit(exit)}`;
    const cause = deathCause("WORKER_DIED", message, { nodeId, pid: guarded.pid, exit, log });
    causes.put(`${nodeId}/${engineId}`, cause);
    engine.ended.resolve(message);
    const peer = actor.worker?.peer;
    if (!peer || peer.closed) return;
    peer.invoke(engineEnded, { engineId, cause }).catch((error: unknown) => {
      logger.debug("a worker did not hear of its engine's end", { engineId, error: String(error) });
    });
  }

  #gone(engine: Engine): void {
    this.#engines.delete(engine.engineId);
    void engine.log.close();
    void this.#removeToken(engine.engineId);
  }

  async #stop(engine: Engine, graceMs: number): Promise<TreeEnd> {
    const end = await engine.guarded.stop(graceMs);
    this.#options.quarantine.ended(engine.engineId, end, engine.devices, engine.guarded);
    return { killed: end.killed, left: end.left };
  }

  /** Ends all engines of an actor, each with its own grace unless one is given. Resolves when all are gone, or quarantined. */
  async endAll(actorId: string, graceMs: number | undefined): Promise<void> {
    await Promise.all([...this.#starting.values()].filter((one) => one.actorId === actorId).map((one) => one.done));
    const mine = [...this.#engines.values()].filter((engine) => engine.actor.spec.actorId === actorId);
    await Promise.all(mine.map((engine) => this.#stop(engine, graceMs ?? engine.graceMs)));
  }
}
