import { abortable, asWhiprayError } from "@whipray/core";
import type { SchedulerCluster, SchedulerGroup } from "./cluster.ts";
import { colocationOf, type TargetRole } from "./colocation.ts";
import {
  type CallEngineOptions,
  type CreateEngineOptions,
  callEngineOn,
  createEngineOn,
  streamEngineOn,
} from "./engine-calls.ts";
import type { ForkedHost } from "./engine-server.ts";
import { SchedulerError, WorkerConfigurationError, WorkerCreationError, WorkerNotFoundError } from "./errors.ts";
import { deathOf, unreachedOf } from "./failures.ts";
import { type MasterAddress, withFreshPort } from "./fresh-port.ts";
import { checkEnv, type FullSpec, type Job, specsOf } from "./job.ts";
import { MasterAddresses } from "./master-address.ts";
import { callOverNodes } from "./multi-node-server.ts";
import type { ClearedTensors, FetchOptions } from "./r-tensor.ts";
import { readyWorker } from "./readiness.ts";
import { type Meeting, meet } from "./rendezvous.ts";
import { type Member, type Role, Roles } from "./role.ts";
import { DEFAULT_GPUS_PER_NODE, RoleBuilder } from "./role-builder.ts";
import { Scheduler, type TeardownReport, type WaitOptions } from "./scheduler.ts";
import { askServer } from "./server-calls.ts";
import { type SchedulerOptions, type Settings, settingsOf } from "./settings.ts";
import { type RoleTeardown, tearDown } from "./teardown.ts";
import { clearTensors, localize } from "./tensors.ts";
import type { Worker } from "./worker.ts";
import { HEALTH_TIMEOUT_MS, type WorkerHealth, withRanks, workerHealth } from "./worker-health.ts";

/** AReaL: the timeouts of /set_env and /configure. */
const SET_ENV_TIMEOUT_MS = 30_000;
const CONFIGURE_TIMEOUT_MS = 300_000;
/** AReaL: the session in which a fork must be up. */
const FORK_TIMEOUT_MS = 120_000;

/** The scheduler on any cluster that has placement groups and actors. */
export class ClusterScheduler extends Scheduler {
  readonly #open: () => Promise<SchedulerCluster>;
  readonly #settings: Settings;
  readonly #roles = new Roles();
  readonly #masters = new MasterAddresses();
  #nGpusPerNode: number;

  /** `open` gives the cluster; it is called when it is needed first. */
  constructor(open: () => Promise<SchedulerCluster>, options: SchedulerOptions = {}) {
    super();
    this.#open = open;
    this.#settings = settingsOf(options);
    this.#nGpusPerNode = this.#settings.nGpusPerNode ?? DEFAULT_GPUS_PER_NODE;
  }

  get nGpusPerNode(): number {
    return this.#nGpusPerNode;
  }

  async createWorkers(job: Job, options: WaitOptions = {}): Promise<string[]> {
    const specs = specsOf(job);
    const { role } = job;
    if (this.#roles.has(role)) throw new WorkerCreationError(role, `role '${role}' already exists`);
    const how = colocationOf(job, specs[0]!.gpu, (name) => this.#target(name));
    await this.#roles.add(role, options.signal, async (signal) => {
      if (how.kind === "mapped") {
        return { name: role, kind: "mapped", target: how.target, members: [], groups: [], sharesBundles: false };
      }
      const builder = await this.#builder(signal);
      if (how.kind === "separate") return builder.own(role, specs);
      const target = this.#roles.owner(how.target)!;
      if (how.kind === "forked") return builder.beside(role, specs, target);
      return builder.grouped(role, specs, target, how.devicesPerWorker);
    });
    return this.#members(role).map((member) => member.id);
  }

  async getWorkers(role: string, timeoutMs?: number, options: WaitOptions = {}): Promise<Worker[]> {
    const { clock, startupTimeoutMs } = this.#settings;
    const totalMs = timeoutMs ?? startupTimeoutMs;
    const members = this.#members(role);
    const cluster = await this.#open();
    const deadlineAtMs = clock.now() + totalMs;
    const limits = { totalMs, signal: options.signal };
    const ready = (member: Member) => readyWorker(cluster, role, member, deadlineAtMs - clock.now(), limits);
    return abortable(options.signal, () => Promise.all(members.map(ready)));
  }

  deleteWorkers(role?: string, options: { reverseOrder?: boolean } & WaitOptions = {}): Promise<TeardownReport> {
    return abortable(options.signal, () => this.#delete(role, options.reverseOrder ?? false));
  }

  async #delete(role: string | undefined, reverseOrder: boolean): Promise<TeardownReport> {
    const { destroyTimeoutMs, clock, logger } = this.#settings;
    if (role === undefined || this.#roles.isPending(role)) await this.#roles.giveUp(deleted(), role);
    if (role !== undefined && !this.#roles.get(role)) {
      logger.warn("there is no such role to delete", { role });
      return { roles: [] };
    }
    const reports: RoleTeardown[] = [];
    for (const one of this.#roles.dependents(role)) {
      const teardown = { reverseOrder, destroyTimeoutMs };
      reports.push(await tearDown(one, teardown, { clock, logger }));
      this.#roles.remove(one.name);
    }
    if (role === undefined) await this.#masters.close();
    return { roles: reports };
  }

  async forkWorkers(role: string, targetRole: string, command?: string, options: WaitOptions = {}): Promise<string[]> {
    if (this.#roles.has(role)) throw new WorkerCreationError(role, `role '${role}' already exists`);
    const target = this.#roles.owner(targetRole);
    if (!target) throw new WorkerNotFoundError(targetRole, this.#roles.names());
    const { python, cwd, graceMs, portCount } = target.members[0]!.spec;
    const task = { cpu: 0, gpu: 0, mem: 0, portCount, graceMs, python, cwd, cmd: command };
    const given = Object.fromEntries(Object.entries(task).filter(([, value]) => value !== undefined));
    const specs: FullSpec[] = specsOf({ role, replicas: target.members.length, tasks: [given] });
    const forked = await this.#roles.add(role, options.signal, async (signal) =>
      (await this.#builder(signal)).beside(role, specs, target),
    );
    return forked.members.map((member) => member.id);
  }

  async createEngine(workerId: string, engine: string, options: CreateEngineOptions = {}): Promise<void> {
    await createEngineOn(this.#member(workerId), engine, options);
  }

  setWorkerEnv(
    workerId: string,
    env: Readonly<Record<string, string>>,
    { signal }: WaitOptions = {},
  ): Promise<{ appliedLate: boolean }> {
    return abortable(signal, () => this.#setEnv(workerId, env));
  }

  async #setEnv(workerId: string, env: Readonly<Record<string, string>>): Promise<{ appliedLate: boolean }> {
    checkEnv(env);
    const member = this.#member(workerId);
    if (Object.keys(env).length === 0) return { appliedLate: false };
    try {
      const servers = [member.server, ...member.launchers.map((launcher) => launcher.server)];
      const [applied] = await Promise.all(
        servers.map((server) => askServer(server, "setEnv", [env], SET_ENV_TIMEOUT_MS)),
      );
      member.env = { ...member.env, ...env };
      return applied as { appliedLate: boolean };
    } catch (error) {
      throw deathOf(workerId, error) ?? unreachedOf(workerId, member.slot.nodeId, error) ?? asWhiprayError(error);
    }
  }

  async asyncCallEngine<T = unknown>(workerId: string, method: string, options: CallEngineOptions = {}): Promise<T> {
    const member = this.#member(workerId);
    const { clock, logger } = this.#settings;
    const call = (own: CallEngineOptions) => callEngineOn(member, method, own, clock);
    try {
      const result = await (member.launchers.length > 0
        ? callOverNodes(member, method, options, call, logger)
        : call(options));
      return result as T;
    } catch (error) {
      throw await withRanks(error, this.#roles.ranksOf(member));
    }
  }

  streamEngine<T = unknown>(
    workerId: string,
    method: string,
    options: CallEngineOptions = {},
  ): AsyncGenerator<T, unknown> {
    return streamEngineOn(this.#member(workerId), method, options) as AsyncGenerator<T, unknown>;
  }

  /**
   * One more engine host in a worker's own lease, with its devices and environment (AReaL: a guard's /fork): called by the option
   * `host`, ended by `killForkedHost` or with the worker. @throws WhiprayError `ENGINE_EXISTS`, `LIMIT` above 64.
   */
  async forkHost(workerId: string, fork: ForkedHost, { signal }: WaitOptions = {}): Promise<{ pid: number }> {
    const member = this.#member(workerId);
    const { logger } = this.#settings;
    member.hasEngine = true;
    const ask = () => askServer(member.server, "fork", [fork], FORK_TIMEOUT_MS) as Promise<{ pid: number }>;
    return abortable(signal, ask, (forked) => {
      forked
        .then(() => this.killForkedHost(workerId, fork))
        .catch((error: unknown) =>
          logger.debug("an aborted fork left nothing to end", { workerId, error: String(error) }),
        );
    });
  }

  /** Ends such a host and what it started. @throws WhiprayError `NOT_FOUND`, also the second time (areal 6.11). */
  async killForkedHost(
    workerId: string,
    host: Pick<ForkedHost, "role" | "index">,
    { signal }: WaitOptions = {},
  ): Promise<void> {
    const { server } = this.#member(workerId);
    const { role, index } = host;
    await abortable(signal, () => askServer(server, "killForked", [{ role, index }], FORK_TIMEOUT_MS));
  }

  /**
   * The value with the tensors themselves in place of its `RTensor`s (AReaL: localize).
   * @throws RTensorError naming those that were freed, or whose engine is gone.
   */
  async localize<T = unknown>(value: unknown, options?: FetchOptions): Promise<T> {
    return (await localize(value, options)) as T;
  }

  /**
   * Frees tensors that stayed on engines: those in `value`, or all of this scheduler's (AReaL: clear_batches, at the end of a step).
   * An engine that is gone has none; any other failure is told.
   */
  async clearTensors(value?: unknown, { signal }: WaitOptions = {}): Promise<ClearedTensors> {
    return abortable(signal, () => clearTensors(this.#roles.members(), value));
  }

  /** What each worker of a role does now, also while calls run: who is blocked. One that is gone is part of the answer. */
  async health(role: string, timeoutMs?: number, { signal }: WaitOptions = {}): Promise<WorkerHealth[]> {
    const members = this.#members(role);
    return abortable(signal, () => Promise.all(members.map((member) => workerHealth(member, timeoutMs))));
  }

  /** Python stacks of a worker's engine host, also while a call runs: where it is blocked. Empty before its first engine. */
  async stacks(workerId: string, { signal }: WaitOptions = {}): Promise<string> {
    const { server } = this.#member(workerId);
    return (await abortable(signal, () => askServer(server, "stacks", [], HEALTH_TIMEOUT_MS))) as string;
  }

  /**
   * Seeds and configures every worker of a role (AReaL: /configure); before the first engine it takes effect at its host's
   * start. @throws WorkerConfigurationError: no error is lost (areal.md 1.3).
   */
  async configureWorkers(
    role: string,
    config: Readonly<Record<string, unknown>>,
    { signal }: WaitOptions = {},
  ): Promise<void> {
    const configure = async (member: Member, rank: number): Promise<void> => {
      try {
        await askServer(member.server, "configure", [{ config, role, rank }], CONFIGURE_TIMEOUT_MS);
      } catch (error) {
        const failure = asWhiprayError(error);
        throw new WorkerConfigurationError(member.id, failure.message, { cause: failure, where: failure.where });
      }
    };
    const members = this.#members(role);
    await abortable(signal, () => Promise.all(members.map(configure)));
  }

  /** The placement groups of a role; those of its target when it shares. */
  placementGroups(role: string): readonly SchedulerGroup[] {
    const found = this.#roles.owner(role);
    if (!found) throw new WorkerNotFoundError(role, this.#roles.names());
    return [...new Set(found.members.map((member) => member.group))];
  }

  /**
   * Address of the node of a bundle, and a port there that stays leased as long as the group lives (AReaL:
   * `get_placement_group_master_ip_and_port`). Without an index: the bundle of the group's first rank, which for a group that is
   * not of this scheduler is 0.
   */
  async getPlacementGroupMasterIpAndPort(
    group: SchedulerGroup,
    bundleIndex?: number,
    { signal }: WaitOptions = {},
  ): Promise<MasterAddress> {
    return abortable(signal, async () => this.#masters.lease(await this.#open(), this.#roles, group, bundleIndex));
  }

  /**
   * Runs `join` for all workers of a role at the same time, with a port at the first one's node that all are told. When one of them finds
   * the port taken (EADDRINUSE), all are told another, at most MASTER_PORT_TRIES in all: `join` must be fit to run again. Gives what each
   * `join` gave. @throws PortAllocationError when all of these ports were taken; else what `join` threw first.
   */
  async rendezvous<T>(
    role: string,
    join: (workerId: string, meeting: Meeting) => Promise<T>,
    { signal }: { signal?: AbortSignal } = {},
  ): Promise<T[]> {
    const { clock, logger } = this.#settings;
    const members = this.#members(role);
    const { group, slot } = members[0]!;
    return withFreshPort(
      () => this.getPlacementGroupMasterIpAndPort(group, slot.bundle),
      (address, attempt) =>
        meet(
          members.map(({ id }) => id),
          join,
          { address, attempt, clock, ...(signal && { signal }) },
        ),
      logger,
    );
  }

  /** Ends everything; never raises (areal 6.27). */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.deleteWorkers();
    } catch (error) {
      this.#settings.logger.error("the scheduler could not end in order", { error: asWhiprayError(error).message });
    }
  }

  async #builder(signal: AbortSignal): Promise<RoleBuilder> {
    const cluster = await this.#open();
    signal.throwIfAborted();
    const onCluster = (nGpusPerNode: number): void => {
      this.#nGpusPerNode = nGpusPerNode;
    };
    return new RoleBuilder({ ...this.#settings, cluster, roles: this.#roles, signal, onCluster });
  }

  #target(name: string): TargetRole | undefined {
    const role = this.#roles.owner(name);
    if (!role) return undefined;
    const devices = role.members.reduce((sum, member) => sum + member.plan.bundleDevices, 0);
    return { workers: role.members.length, devices };
  }

  #members(role: string): readonly Member[] {
    const found: Role | undefined = this.#roles.owner(role);
    if (!found) throw new WorkerNotFoundError(role, this.#roles.names());
    return found.members;
  }

  #member(workerId: string): Member {
    if (typeof workerId !== "string")
      throw new SchedulerError({ code: "INVALID_ARGUMENT", message: "workerId must be text" });
    const member = this.#roles.member(workerId);
    if (!member) throw new WorkerNotFoundError(workerId, this.#roles.workerIds());
    return member;
  }
}

function deleted(): SchedulerError {
  return new SchedulerError({ code: "CANCELLED", message: "The role was deleted while it was being created" });
}
