import {
  type Clock,
  type IdSource,
  type LinkMatrix,
  type Logger,
  type RandomSource,
  WhiprayError,
} from "@whipray/core";
import type { NodeStore } from "@whipray/objects";
import {
  type ByteFetcher,
  type ByteStream,
  type DeathCause,
  type Endpoint,
  type NodeRegister,
  type NodeRegistered,
  nodeRenewals,
} from "@whipray/rpc";
import { ActorService } from "./actor-service.ts";
import type { Beats } from "./beats.ts";
import { BundleService } from "./bundle-service.ts";
import { CauseBook } from "./cause-book.ts";
import { ClusterView } from "./cluster-view.ts";
import { causeError } from "./death-cause.ts";
import type { DeviceEyes } from "./device-eyes.ts";
import { DeviceStrangers } from "./device-strangers.ts";
import { DeviceWatch, tellingLocks } from "./device-watch.ts";
import type { DeviceVisibility } from "./engine-environment.ts";
import { EngineService, type Secrets } from "./engine-service.ts";
import { GrantLook } from "./grant-look.ts";
import type { Guards } from "./guards.ts";
import { HeadLink } from "./head-link.ts";
import { type HostedActor, HostedActors } from "./hosted-actors.ts";
import { KnownLogs } from "./known-logs.ts";
import { LateDevices, type LateProbe, type MoreDevices } from "./late-devices.ts";
import { Ledger } from "./ledger.ts";
import { LogService } from "./log-service.ts";
import type { Logs } from "./logs.ts";
import type { NodeDevice, NodeIdentity } from "./node-identity.ts";
import type { Fence, LeaseTurn, OwnRenewals } from "./node-lease.ts";
import { nodeTotals } from "./node-totals.ts";
import { ObjectDoor } from "./object-door.ts";
import type { PackageFolders } from "./package-folders.ts";
import { PortService } from "./port-service.ts";
import type { Ports } from "./ports.ts";
import type { Processes } from "./processes.ts";
import { Quarantine } from "./quarantine.ts";
import { RuntimeEnvs } from "./runtime-envs.ts";
import { TaskRouter } from "./task-router.ts";
import { TaskService } from "./task-service.ts";
import type { Terminal } from "./terminal.ts";
import { type Attachable, TerminalService } from "./terminal-service.ts";
import { type VenvFolders, Venvs } from "./venvs.ts";
import { WorkerGuards } from "./worker-guards.ts";
import type { EarlyWorker } from "./worker-start.ts";
import { WorkerSweeps } from "./worker-sweeps.ts";
import { Workers } from "./workers.ts";

/** What a raylet is made of. Daemons give real parts (`openNode`), simulations their in-memory twins. */
export interface RayletParts {
  readonly endpoint: Endpoint;
  readonly clock: Clock;
  readonly ids: IdSource;
  readonly random: RandomSource;
  readonly logger: Logger;
  readonly processes: Processes;
  readonly guards: Guards;
  readonly logs: Logs;
  readonly ports: Ports;
  readonly beats: Beats;
  readonly secrets: Secrets;
  readonly visibility: DeviceVisibility;
  /** Where packages are unpacked; without it runtime environments with packages are refused. */
  readonly packages?: PackageFolders | undefined;
  /** Where virtual environments are made; without it those with requirements are refused. */
  readonly venvs?: VenvFolders | undefined;
  /** The node's objects; without it the node keeps none, and values travel in messages. */
  readonly objects?: (() => Promise<NodeStore>) | undefined;
  /** Fetches objects from other raylets' ports; without it they travel in messages. */
  readonly bytes?: ByteFetcher | undefined;
  /** Looks at the devices now and then; without them their health is what the node's start found. */
  readonly eyes?: DeviceEyes | undefined;
  /** Asks again for devices of which the node's start could not tell. */
  readonly late?: LateProbe | undefined;
}

export interface RayletOptions {
  readonly node: NodeIdentity;
  /** URL of the head. */
  readonly headUrl: string;
  /** Main file of `@whipray/worker`. */
  readonly workerEntry: string;
  /** Node for workers; daemons give `process.execPath`. */
  readonly nodePath: string;
  /** Arguments of Node before the entry file. */
  readonly nodeArgs?: readonly string[];
  /** File with the token of the role `worker`. */
  readonly workerTokenFile: string;
  /** The unix socket on which our endpoint listens. */
  readonly rayletSocket: string;
  readonly workerSocket: (workerId: string) => string;
  /** A blank worker that is on its way already. */
  readonly firstWorker?: EarlyWorker | undefined;
  /** Working directory of workers, and of engines that name none. */
  readonly cwd: string;
  /** The raylet's own environment, which workers and engines inherit without `WHIPRAY_*`. */
  readonly env: Readonly<Record<string, string>>;
  /** Compile caches of engines; one folder a user. */
  readonly cacheDirectory: string;
  /** Folder of the Python engine host. */
  readonly enginePythonPath?: string;
  /** From the end of one look at the devices to the next. Default `LOOK_EVERY_MS`. */
  readonly lookEveryMs?: number;
  /** How long a grant waits for a look at who uses its devices. Default `GRANT_LOOK_MS`. */
  readonly grantLookMs?: number;
  /** A registration failed, for whatever reason; it is tried again. */
  readonly onRefused?: ((error: WhiprayError) => void) | undefined;
  /** What starts the engine host. Default `-m whipray_engine`. */
  readonly engineHostArgs?: readonly string[];
}

/** The agent of one machine: owns what runs there, and is the only one that grants its devices. */
export class Raylet {
  readonly #parts: RayletParts;
  readonly #options: RayletOptions;
  readonly #ledger: Ledger;
  readonly #actors = new HostedActors();
  readonly #causes: CauseBook;
  readonly #head: HeadLink;
  readonly #workers: Workers;
  readonly #engines: EngineService;
  readonly #actorService: ActorService;
  readonly #bundles: BundleService;
  readonly #runtimeEnvs: RuntimeEnvs;
  readonly #tasks: TaskService;
  readonly #view: ClusterView;
  readonly #objects: ObjectDoor | undefined;
  readonly #watch: DeviceWatch | undefined;
  readonly #late: LateDevices | undefined;
  /** Grows in place: all parts hold this list. */
  readonly #devices: NodeDevice[];
  #links: LinkMatrix | undefined;
  #scalars: Readonly<Record<string, number>>;
  readonly #registeredListeners: ((registered: NodeRegistered) => void)[] = [];
  #stopping: Promise<void> | undefined;

  constructor(parts: RayletParts, options: RayletOptions) {
    this.#parts = parts;
    this.#options = options;
    const { endpoint, clock, logger, beats } = parts;
    const { node, headUrl, cwd, env } = options;
    const { nodeId, cluster } = node;
    const devices = [...node.devices];
    this.#devices = devices;
    this.#links = node.links;
    this.#scalars = node.scalars;
    const ledger = new Ledger({ scalars: node.scalars, devices, links: node.links });
    const causes = new CauseBook(clock);
    const logs = new KnownLogs(parts.logs);
    const actors = this.#actors;
    const head = new HeadLink({
      ...{ endpoint, headUrl, nodeId, clock, logger, random: parts.random },
      describe: () => this.describe(),
      view: () => ledger.view(),
      onRegistered: (registered) => this.#registered(registered),
      onChanged: () => this.#tasks?.pump(),
      onRefused: options.onRefused,
    });
    const clear = async (uuids: readonly string[]) => this.#watch?.clear(uuids);
    const quarantine = new Quarantine(ledger, logger, () => head.viewChanged(), clear);
    const guards = tellingLocks(parts.guards, async (paths) => (await this.#watch?.locked(paths)) ?? "");
    const strangers = new DeviceStrangers({ nodeId, ledger, actors });
    const onBusy = (): void => {
      head.viewChanged();
      this.#watch?.soon();
    };
    const { eyes } = parts;
    const grants =
      eyes && new GrantLook({ eyes, strangers, ledger, clock, logger, onBusy, limitMs: options.grantLookMs });
    const shared = {
      ...{ ...parts, guards, nodeId, cluster, headUrl, cwd, env },
      ...{ ledger, causes, logs, actors, head, quarantine, strangers, grants },
    };
    const { workerEntry, workerTokenFile, rayletSocket, workerSocket, nodePath, nodeArgs = [] } = options;
    const workers = new Workers({
      ...shared,
      ...{ workerEntry, workerTokenFile, rayletSocket, workerSocket, nodePath, nodeArgs },
      onEnded: (address) => this.#objects?.ended(address),
    });
    const { cacheDirectory, enginePythonPath, engineHostArgs = ["-m", "whipray_engine"] } = options;
    const hosts = { cacheDirectory, enginePythonPath, engineHostArgs };
    const engines = new EngineService({ ...shared, ...hosts, devices });
    const ports = new PortService({ endpoint, actors, logger, ports: parts.ports, ip: node.ip });
    const workerGuards = new WorkerGuards({ guards, clock, devices });
    const sweeps = new WorkerSweeps({ ...parts, quarantine });
    const { packages: folders, venvs: venvFolders } = parts;
    const venvs = venvFolders && new Venvs({ ...shared, raylet: endpoint.incarnation, folders: venvFolders });
    const runtimeEnvs = new RuntimeEnvs({ ...shared, folders, venvs });
    this.#runtimeEnvs = runtimeEnvs;
    const actorService = new ActorService({ ...shared, workers, engines, ports, workerGuards, sweeps, runtimeEnvs });
    this.#view = new ClusterView(head, nodeId, clock, logger);
    const { labels } = node;
    const total = () => nodeTotals(this.#scalars, devices);
    const router = new TaskRouter({ nodeId, labels, devices, total, ledger, view: this.#view });
    const tasks = new TaskService({ ...shared, view: this.#view, router, workers, workerGuards, sweeps, runtimeEnvs });
    new LogService({ endpoint, logs, causes, nodeId });
    new TerminalService({ endpoint, nodeId, find: (name) => this.#attachable(name) });
    endpoint.serve(nodeRenewals, () => wholeMs(beats.answer()));
    beats.listen({ onTurn: (turn) => this.#turn(turn), onRefused: () => head.registerAgain() });
    this.#ledger = ledger;
    this.#causes = causes;
    this.#head = head;
    this.#workers = workers;
    this.#engines = engines;
    this.#actorService = actorService;
    this.#bundles = new BundleService({ endpoint, head, ledger, actors, actorService, tasks, grants });
    this.#tasks = tasks;
    const socketOf = (address: string) => workers.find(address)?.socket;
    this.#objects = parts.objects && new ObjectDoor({ ...shared, open: parts.objects, socketOf });
    const end = (actor: HostedActor, cause: DeathCause) => actorService.end(actor, cause, 0);
    this.#watch = eyes && new DeviceWatch({ ...shared, eyes, devices, end, everyMs: options.lookEveryMs });
    const { late: probe, random } = parts;
    const onMore = (more: MoreDevices): void => this.#grow(more);
    this.#late = probe && new LateDevices({ probe, clock, random, logger, onMore });
  }

  /** What this node's port gives to other raylets (PROTOCOL.md, "Byte streams"). */
  async stream(path: string): Promise<ByteStream> {
    if (this.#objects) return this.#objects.stream(path);
    throw new WhiprayError({ code: "NOT_FOUND", message: "This node keeps no objects" });
  }

  /** Offers devices that were found late: the head learns of them by a registration. */
  #grow({ devices, links, scalars }: MoreDevices): void {
    this.#devices.push(...devices);
    this.#links = links;
    const news = Object.entries(scalars).filter(([name]) => !Object.hasOwn(this.#scalars, name));
    this.#scalars = { ...this.#scalars, ...Object.fromEntries(news) };
    this.#ledger.grow({ scalars: Object.fromEntries(news), devices: this.#devices, links });
    this.#watch?.watch(devices);
    this.#head.registerAgain();
  }

  /**
   * Registers with the head; resolves when that is done. Tries on while the head is away.
   * @throws WhiprayError what the head refused the registration with.
   */
  async start(): Promise<void> {
    if (this.#options.firstWorker) this.#workers.prestart(this.#options.firstWorker);
    await this.#watch?.start();
    await this.#head.start();
    this.#late?.start();
  }

  /** Called after every registration: whose tokens to accept, whom to ask when the head is silent. */
  onRegistered(listener: (registered: NodeRegistered) => void): void {
    this.#registeredListeners.push(listener);
  }

  /** Ends everything that runs here, and leaves the cluster. Calling it again waits for the same end. */
  stop(reason = "stopped"): Promise<void> {
    this.#stopping ??= this.#stop(reason);
    return this.#stopping;
  }

  async #stop(reason: string): Promise<void> {
    const { beats, guards, ports } = this.#parts;
    this.#head.leaving = true;
    this.#watch?.close();
    this.#late?.close();
    await this.#endAll(this.#actors.all(), { kind: "NODE_DIED", message: `its node left: ${reason}` });
    this.#tasks.close();
    this.#view.close();
    this.#runtimeEnvs.close();
    await this.#workers.close();
    await this.#objects?.close();
    await this.#head.leave(reason);
    await beats.close();
    await guards.close();
    ports.close();
  }

  /**
   * Where a process of this node can be dialled, for an OPEN that comes by.
   * @throws WhiprayError `WORKER_CRASHED` with the cause when it is gone.
   */
  socketOf(address: string): string | undefined {
    const worker = this.#workers.find(address);
    if (worker) return worker.socket;
    const cause = this.#causes.get(address);
    if (cause) throw causeError(address, cause);
    return undefined;
  }

  /** A process that is no worker of ours ended: its objects and tasks go. */
  processGone(address: string): void {
    this.#objects?.ended(address);
    this.#tasks.callerGone(address);
  }

  /** The pseudo-terminal of an engine that has one. */
  terminal(engineId: string): Terminal | undefined {
    return this.#engines.terminal(engineId);
  }

  /** What `whipray attach` may show under this name. */
  #attachable(name: string): { engines: Attachable[]; log: string } | undefined {
    const { nodeId } = this.#options.node;
    const process = name.startsWith(`${nodeId}/`) ? name.slice(nodeId.length + 1) : name;
    const engines = this.#engines.attachable(process);
    const actor = this.#actors.get(process) ?? this.#actors.ofAddress(`${nodeId}/${process}`);
    const log = engines[0]?.process ?? actor?.worker?.address.slice(nodeId.length + 1);
    return log === undefined ? undefined : { engines, log };
  }

  /** What runs here; `running` actors have no start and no end before them, `changes` grows with each change of what is free. */
  get counts(): {
    actors: number;
    running: number;
    tasks: number;
    workers: number;
    engines: number;
    changes: number;
  } {
    const [actors, running, tasks] = [this.#actors.size, this.#actors.runningCount, this.#tasks.size];
    const { version: changes } = this.#ledger;
    return { actors, running, tasks, workers: this.#workers.count, engines: this.#engines.count, changes };
  }

  /** What a registration tells of this node, as it is now; checks of simulations look at it too. */
  describe(): Omit<NodeRegister, "epoch"> {
    const { nodeId, incarnation, name, hostname, ip, url, pid, pidNamespace, version, labels } = this.#options.node;
    const [devices, links] = [this.#devices, this.#links];
    return {
      ...{ nodeId, inc: incarnation, name, hostname, ip, pid, version, labels },
      ...(url !== undefined && { url }),
      ...(pidNamespace !== undefined && { socket: this.#options.rayletSocket }),
      ...(pidNamespace !== undefined && { pidNamespace }),
      total: nodeTotals(this.#scalars, devices),
      devices: devices.map(({ lockPath: _, shared: __, leftBy: ___, ...device }) => device),
      ...(links && { links: { kinds: [...links.kinds], pairs: links.pairs } }),
      view: this.#ledger.view(),
      actors: this.#actors.running(),
      bundles: this.#ledger.runningBundles(),
    };
  }

  /** The head has given away, or never knew, some of what we run: it ends before anything new starts. */
  async #registered(registered: NodeRegistered): Promise<void> {
    const { epoch, beatMs, peers, dropActors, dropBundles } = registered;
    this.#parts.logger.info("registered", { epoch, dropActors: dropActors.length, dropBundles: dropBundles.length });
    this.#parts.beats.registered({ epoch, beatMs, peers });
    this.#ledger.hold({});
    this.#view.reset();
    for (const listener of this.#registeredListeners) listener(registered);
    const actors = dropActors.map((actorId) => this.#actors.get(actorId)).filter((actor) => actor !== undefined);
    await this.#endAll(actors, { kind: "NODE_DIED", message: "the head had given it up" });
    await Promise.all(dropBundles.map(({ pgId, index }) => this.#bundles.release(pgId, this.#epochOf(pgId), [index])));
    void this.#watch?.tell();
  }

  #epochOf(pgId: string): number {
    const mine = this.#ledger.runningBundles().filter((bundle) => bundle.pgId === pgId);
    return Math.max(0, ...mine.map((bundle) => bundle.epoch));
  }

  #turn({ state, fence }: LeaseTurn): void {
    this.#parts.logger.warn("renewals", { state, fence });
    if (fence) void this.fence(fence, state);
  }

  /** Ends everything here, or what its owner declared `fence: true`, so that it cannot live twice (mechanism 5). */
  async fence(fence: Fence, state: string): Promise<void> {
    const chosen = this.#actors.all().filter((actor) => {
      return fence === "all" || (actor.spec.fence === true && actor.spec.maxRestarts !== 0);
    });
    this.#parts.logger.error("fencing", { fence, state, actors: chosen.length });
    const cause: DeathCause = { kind: "NODE_DIED", message: `its node fenced itself: ${state}` };
    await Promise.all([this.#endAll(chosen, cause), fence === "all" && this.#tasks.endAll(cause)]);
  }

  async #endAll(actors: readonly HostedActor[], cause: DeathCause): Promise<void> {
    await Promise.all(actors.map((actor) => this.#actorService.end(actor, cause, 0)));
  }
}

/** Counts on the wire are whole. */
function wholeMs({ renewedAgoMs, steadyMs }: OwnRenewals): OwnRenewals {
  return { renewedAgoMs: Math.round(renewedAgoMs), steadyMs: Math.round(steadyMs) };
}
