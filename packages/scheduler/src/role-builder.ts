import { asWhiprayError, type Clock, type Logger } from "@whipray/core";
import type { SchedulerCluster, SchedulerGroup, ServerHandle } from "./cluster.ts";
import { groupColocatedGpus } from "./colocation.ts";
import { deviceResource } from "./device-resource.ts";
import { checkForkRoom, FORK_DEVICE_SHARE } from "./device-share.ts";
import { SchedulerError, WorkerCreationError } from "./errors.ts";
import type { FullSpec } from "./job.ts";
import { planRole, type WorkerPlan } from "./placement-plan.ts";
import { placed, type RoleWait } from "./placing.ts";
import { assignRanks, type PlacedSlot, placedSlot } from "./rank-order.ts";
import type { Launcher, Member, Role, Roles } from "./role.ts";
import { serverInfo } from "./server-calls.ts";
import type { ServerStart } from "./server-start.ts";

const GIB = 2 ** 30;

export interface BuilderOptions {
  readonly cluster: SchedulerCluster;
  readonly roles: Roles;
  /** Before the names of groups and actors. */
  readonly namePrefix: string;
  /** Devices of a node where the cluster has none to count. */
  readonly nGpusPerNode: number | undefined;
  /** Told how many devices a node of the cluster has. */
  onCluster(nGpusPerNode: number): void;
  /** Gives the role up. */
  readonly signal: AbortSignal;
  readonly nodesMayJoin: boolean;
  readonly startupTimeoutMs: number;
  readonly engineStartTimeoutMs: number;
  readonly onWaiting: ((wait: RoleWait) => void) | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** AReaL's `n_gpus_per_node` when nobody says and the cluster has none. */
export const DEFAULT_GPUS_PER_NODE = 8;
const FORKED = { cpu: 0, mem: 0, resources: {}, claims: false, captureChildTasks: true, nodes: 1 };

/** Makes the workers of roles. All of a role or nothing: what was made before a failure is gone when the error comes. */
export class RoleBuilder {
  readonly #options: BuilderOptions;
  readonly #made: ServerHandle[] = [];
  readonly #groups: SchedulerGroup[] = [];
  #seen: Promise<{ device: string; nGpusPerNode: number }> | undefined;

  /** For one role. */
  constructor(options: BuilderOptions) {
    this.#options = options;
  }

  /** Workers in groups of their own. @throws WorkerCreationError with what was missing. */
  async own(role: string, specs: readonly FullSpec[]): Promise<Role> {
    const { cluster, clock, startupTimeoutMs, namePrefix, signal, nodesMayJoin, logger, onWaiting } = this.#options;
    const startedAtMs = clock.now();
    return this.#allOrNothing(role, async () => {
      const plan = planRole(role, specs, await this.#cluster());
      for (const [index, bundles] of plan.groups.entries()) {
        const name = plan.groups.length === 1 ? `${namePrefix}${role}` : `${namePrefix}${role}.${index}`;
        const [labels, links] = [plan.labels[index]!, plan.links[index]!];
        this.#groups.push(await cluster.placementGroup(bundles, { strategy: plan.strategy, name, labels, links }));
        signal.throwIfAborted();
      }
      const timeoutMs = Math.max(1, Math.ceil(startupTimeoutMs - (clock.now() - startedAtMs)));
      await placed(this.#groups, { role, timeoutMs, signal, nodesMayJoin, clock, logger, onWaiting });
      const slots = await this.#ranked(plan.workers);
      const members: Member[] = [];
      for (const [index, worker] of plan.workers.entries()) {
        const slot = slots[index]!;
        const group = this.#groups[slot.group]!;
        const spec = specs[index]!;
        members.push(await this.#member(`${role}/${index}`, spec, group, slot, worker, spec.envVars, "env"));
      }
      return { name: role, kind: "owner", members, groups: this.#groups, sharesBundles: plan.sharesBundles };
    });
  }

  /**
   * One worker beside each of the target's, in its bundle, with 0.01 of its device and its environment (AReaL R1). An actor of its
   * own rather than a sibling process in the target's lease: it dies alone, is killed alone, and tells its own cause.
   */
  async beside(role: string, specs: readonly FullSpec[], target: Role): Promise<Role> {
    const withDevice = specs.some((spec) => spec.gpu > 0);
    if (withDevice) this.#checkRoom(role, target);
    return this.#allOrNothing(role, async () => {
      const members: Member[] = [];
      for (const [index, near] of target.members.entries()) {
        const spec = specs[index]!;
        const plan = { ...near.plan, ...FORKED, devices: spec.gpu > 0 ? FORK_DEVICE_SHARE : 0 };
        const env = { ...near.env, ...spec.envVars };
        const { group, slot } = near;
        const member = await this.#member(`${role}/${index}`, spec, group, slot, plan, env, "env", near.beside ?? near);
        members.push(member);
      }
      return {
        name: role,
        kind: "forked",
        target: target.name,
        members,
        groups: [],
        sharesBundles: target.sharesBundles,
      };
    });
  }

  /**
   * One worker over each group of the target's devices (AReaL R2's grouped colocation). It holds none itself: its environment names
   * the devices of the group, joined from what the target's own workers were shown.
   */
  async grouped(role: string, specs: readonly FullSpec[], target: Role, size: number): Promise<Role> {
    const single = target.members.every((member) => member.plan.bundleDevices === 1);
    if (!single)
      throw new WorkerCreationError(role, `grouped colocation needs workers of one device in '${target.name}'`);
    const devices = target.members.map((member, worker) => ({ worker, nodeId: member.slot.nodeId }));
    if (target.members.some((member) => member.plan.claims))
      throw new WorkerCreationError(
        role,
        `grouped colocation needs workers that hold their devices; those of '${target.name}' leave them to their engines (placement 'deferred')`,
      );
    const groups = groupColocatedGpus(devices, size);
    return this.#allOrNothing(role, async () => {
      const infos = await Promise.all(
        target.members.map((member) => serverInfo(member, this.#options.startupTimeoutMs)),
      );
      const members: Member[] = [];
      for (const [index, devicesOfGroup] of groups.entries()) {
        const first = target.members[devicesOfGroup[0]!.worker]!;
        const shown = joined(devicesOfGroup.map(({ worker }) => infos[worker]!.deviceEnv));
        const spec = specs[index]!;
        const plan = { ...first.plan, ...FORKED, devices: 0 };
        const env = { ...first.env, ...spec.envVars, ...shown };
        members.push(await this.#member(`${role}/${index}`, spec, first.group, first.slot, plan, env, "none", first));
      }
      return { name: role, kind: "forked", target: target.name, members, groups: [], sharesBundles: true };
    });
  }

  #checkRoom(role: string, target: Role): void {
    if (target.sharesBundles) {
      throw new WorkerCreationError(
        role,
        `workers of '${target.name}' share bundles, so a fork cannot be given its target's device; use placement 'shared', or gpu 0`,
      );
    }
    for (const member of target.members) {
      const near = member.beside ?? member;
      const { bundleDevices, claims } = near.plan;
      const devices = claims ? bundleDevices : near.plan.devices;
      const forks = this.#options.roles.forksBeside(near);
      checkForkRoom(role, { role: target.name, bundleDevices, takenDevices: devices, forks });
    }
  }

  #cluster(): Promise<{ device: string; nGpusPerNode: number }> {
    this.#seen ??= this.#look();
    return this.#seen;
  }

  async #look(): Promise<{ device: string; nGpusPerNode: number }> {
    const nodes = await this.#options.cluster.nodes();
    const device = deviceResource(nodes);
    const most = Math.max(0, ...nodes.map((node) => node.devices.filter((one) => one.resource === device).length));
    const nGpusPerNode = this.#options.nGpusPerNode ?? (most > 0 ? most : DEFAULT_GPUS_PER_NODE);
    this.#options.onCluster(nGpusPerNode);
    return { device, nGpusPerNode };
  }

  async #ranked(workers: readonly WorkerPlan[]): Promise<PlacedSlot[]> {
    const tables = await Promise.all(this.#groups.map((group) => group.table()));
    const slots = workers.map(({ group, bundle }) => {
      const placed = tables[group]?.bundles.find((one) => one.index === bundle);
      if (!placed) throw new SchedulerError({ code: "INTERNAL", message: `Bundle ${bundle} has no place` });
      return placedSlot(group, placed);
    });
    return assignRanks(
      workers.map((worker) => worker.kind),
      slots,
      await this.#options.cluster.nodes(),
    );
  }

  async #member(
    id: string,
    spec: FullSpec,
    group: SchedulerGroup,
    slot: PlacedSlot,
    plan: WorkerPlan,
    env: Readonly<Record<string, string>>,
    isolation: "env" | "none",
    beside?: Member,
  ): Promise<Member> {
    const serverName = this.#actorName(id);
    const server = await this.#server(id, spec, { group, bundle: slot.bundle, plan, env, isolation });
    const launchers: Launcher[] = [];
    for (let rank = 1; rank < plan.nodes; rank++) {
      const bundle = slot.bundle + rank;
      const own = `${id}.node${rank}`;
      const launcher = await this.#server(own, spec, { group, bundle, plan, env, isolation });
      launchers.push({ id: own, server: launcher, hasEngine: false });
    }
    const facts = { id, spec, server, serverName, launchers, engines: new Map<string, string>(), group, slot, plan };
    return { ...facts, env, hasEngine: false, worker: undefined, ...(beside && { beside }) };
  }

  #actorName(id: string): string {
    return `${this.#options.namePrefix}${id.replace("/", ".")}`;
  }

  /** An RPC server in a bundle, with what a worker of this plan holds. */
  async #server(
    id: string,
    spec: FullSpec,
    at: {
      group: SchedulerGroup;
      bundle: number;
      plan: WorkerPlan;
      env: Readonly<Record<string, string>>;
      isolation: "env" | "none";
    },
  ): Promise<ServerHandle> {
    const { cluster, engineStartTimeoutMs, signal } = this.#options;
    signal.throwIfAborted();
    const { device } = await this.#cluster();
    const { group, bundle, plan, env, isolation } = at;
    const start: ServerStart = {
      workerId: id,
      env,
      ...(spec.python !== undefined && { python: spec.python }),
      ...(spec.cmd !== undefined && { cmd: spec.cmd }),
      ...(spec.cwd !== undefined && { cwd: spec.cwd }),
      pty: spec.pty,
      ...(plan.claims && { claim: group.bundleSpecs[bundle]! }),
      isolation,
      graceMs: spec.graceMs,
      startTimeoutMs: engineStartTimeoutMs,
    };
    const placement = {
      name: this.#actorName(id),
      groupId: group.id,
      bundleIndex: bundle,
      cpu: plan.cpu,
      devices: plan.devices,
      device,
      memoryBytes: Math.floor(plan.mem * GIB),
      resources: plan.resources,
      captureChildTasks: plan.captureChildTasks,
      // Variables are the engine's, which has them from its start.
      ...(spec.runtimeEnv && { runtimeEnv: { ...spec.runtimeEnv, envVars: {} } }),
      graceMs: spec.graceMs,
    };
    const server = await cluster.server(placement, start);
    this.#made.push(server);
    return server;
  }

  async #allOrNothing(role: string, make: () => Promise<Role>): Promise<Role> {
    try {
      return await make();
    } catch (error) {
      await this.#undo();
      if (error instanceof SchedulerError) throw error;
      const failure = asWhiprayError(error);
      const hint = failure.code === "NAME_TAKEN" ? "another scheduler has this role: give each an experimentName" : "";
      throw new WorkerCreationError(role, failure.message, hint, { cause: failure, details: failure.details });
    }
  }

  async #undo(): Promise<void> {
    const undone = await Promise.allSettled([
      ...this.#made.map((server) => server.kill()),
      ...this.#groups.map((group) => group.remove()),
    ]);
    for (const one of undone) {
      if (one.status === "rejected")
        this.#options.logger.warn("a failed role left something", { error: String(one.reason) });
    }
  }
}

function joined(envs: readonly Readonly<Record<string, string>>[]): Record<string, string> {
  const names = new Set(envs.flatMap((env) => Object.keys(env)));
  return Object.fromEntries(
    [...names].map((name) => [
      name,
      envs
        .map((env) => env[name] ?? "")
        .filter(Boolean)
        .join(","),
    ]),
  );
}
