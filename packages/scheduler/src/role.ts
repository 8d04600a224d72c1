import type { SchedulerGroup, ServerHandle } from "./cluster.ts";
import type { FullSpec } from "./job.ts";
import type { RunningServer } from "./multi-node-server.ts";
import type { WorkerPlan } from "./placement-plan.ts";
import type { TensorOwner } from "./r-tensor.ts";
import type { PlacedSlot } from "./rank-order.ts";
import type { Worker } from "./worker.ts";

/** An RPC server on a further node of an instance that spans several: it runs processes there, no engine of the user's. */
export interface Launcher {
  /** `role/index.node1`. */
  readonly id: string;
  readonly server: ServerHandle;
  /** Its launcher engine was asked for. */
  hasEngine: boolean;
}

/** A worker that the scheduler started. */
export interface Member {
  /** `role/index`. */
  readonly id: string;
  readonly spec: FullSpec;
  readonly server: ServerHandle;
  /** Name of the server's actor. */
  readonly serverName: string;
  readonly group: SchedulerGroup;
  readonly slot: PlacedSlot;
  readonly plan: WorkerPlan;
  /** Environment given by spec and `setWorkerEnv`: forks copy it. */
  env: Readonly<Record<string, string>>;
  /** An engine was asked for: its host may run. */
  hasEngine: boolean;
  /** Import paths of its engines, by name. */
  readonly engines: Map<string, string>;
  /** Of an instance over several nodes: those after the head, in the order of their bundles. Else empty. */
  readonly launchers: readonly Launcher[];
  /** Launched over these nodes. */
  runningServer?: RunningServer | undefined;
  /** Asked for once it is ready. */
  worker: Promise<Worker> | undefined;
  /** Set when a call left tensors on its engine. */
  tensors?: TensorOwner;
  /** Member whose bundle and device a fork shares. */
  readonly beside?: Member | undefined;
}

/** A role's workers, or its way to those of another role. */
export interface Role {
  readonly name: string;
  readonly kind: "owner" | "mapped" | "forked";
  /** Role that it shares with. */
  readonly target?: string | undefined;
  /** Empty for a mapped role. */
  readonly members: readonly Member[];
  /** Groups that go with this role. */
  readonly groups: readonly SchedulerGroup[];
  readonly sharesBundles: boolean;
}

/** The roles of one scheduler. */
export class Roles {
  readonly #roles = new Map<string, Role>();
  /** Roles that are being created: their names are taken. */
  readonly #pending = new Map<string, { abort: AbortController; done: Promise<unknown> }>();

  has(name: string): boolean {
    return this.#roles.has(name) || this.#pending.has(name);
  }

  get(name: string): Role | undefined {
    return this.#roles.get(name);
  }

  names(): string[] {
    return [...this.#roles.keys()];
  }

  /** Takes the name while `create` runs; the role exists when it succeeds. */
  async add(
    name: string,
    signal: AbortSignal | undefined,
    create: (signal: AbortSignal) => Promise<Role>,
  ): Promise<Role> {
    const abort = new AbortController();
    const creating = create(signal ? AbortSignal.any([signal, abort.signal]) : abort.signal);
    this.#pending.set(name, { abort, done: creating.catch(() => {}) });
    try {
      const role = await creating;
      this.#roles.set(name, role);
      return role;
    } finally {
      this.#pending.delete(name);
    }
  }

  /** Gives up what is being created, all or one role; settles when nothing of it is left. */
  async giveUp(reason: Error, name?: string): Promise<void> {
    const chosen = [...this.#pending].filter(([role]) => name === undefined || role === name);
    for (const [, { abort }] of chosen) abort.abort(reason);
    await Promise.all(chosen.map(([, { done }]) => done));
  }

  isPending(name: string): boolean {
    return this.#pending.has(name);
  }

  remove(name: string): void {
    this.#roles.delete(name);
  }

  /** The role whose workers this one's are: itself unless it is mapped. */
  owner(name: string): Role | undefined {
    let role = this.#roles.get(name);
    while (role?.kind === "mapped" && role.target !== undefined) role = this.#roles.get(role.target);
    return role;
  }

  /** All workers of all roles. */
  members(): Member[] {
    return [...this.#roles.values()].flatMap((role) => role.members);
  }

  member(workerId: string): Member | undefined {
    for (const role of this.#roles.values()) {
      const found = role.members.find((member) => member.id === workerId);
      if (found) return found;
    }
    return undefined;
  }

  /** The workers of a member's role, itself among them. */
  ranksOf(member: Member): readonly Member[] {
    return [...this.#roles.values()].find((role) => role.members.includes(member))?.members ?? [member];
  }

  workerIds(): string[] {
    return this.members().map((member) => member.id);
  }

  /** Forks with a device beside a member. */
  forksBeside(member: Member): number {
    return this.members().filter((other) => other.beside === member && other.plan.devices > 0).length;
  }

  /**
   * A role and those that share with it, sharers first: what goes when it goes. Without a name: all.
   */
  dependents(name?: string): Role[] {
    const chosen = name === undefined ? [...this.#roles.values()] : this.#under(name);
    return chosen.sort((left, right) => this.#depth(right) - this.#depth(left));
  }

  #under(name: string): Role[] {
    const role = this.#roles.get(name);
    if (!role) return [];
    const sharers = [...this.#roles.values()].filter((other) => other.target === name);
    return [role, ...sharers.flatMap((other) => this.#under(other.name))];
  }

  #depth(role: Role): number {
    const target = role.target === undefined ? undefined : this.#roles.get(role.target);
    return target ? 1 + this.#depth(target) : 0;
  }
}
