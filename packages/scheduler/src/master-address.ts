import type { SchedulerCluster, SchedulerGroup, ServerHandle } from "./cluster.ts";
import { invalid } from "./errors.ts";
import type { MasterAddress } from "./fresh-port.ts";
import { leasePorts } from "./readiness.ts";
import type { Member, Roles } from "./role.ts";

const HOLDER_GRACE_MS = 1_000;

/** Leases master ports in bundles: through a worker that is there, else through a holder that lives as long as the group. */
export class MasterAddresses {
  readonly #holders = new Map<string, Promise<ServerHandle>>();

  async lease(
    cluster: SchedulerCluster,
    roles: Roles,
    group: SchedulerGroup,
    bundleIndex: number | undefined,
  ): Promise<MasterAddress> {
    const bundles = group.bundleSpecs.length;
    if (
      bundleIndex !== undefined &&
      !(Number.isSafeInteger(bundleIndex) && bundleIndex >= 0 && bundleIndex < bundles)
    ) {
      throw invalid(`bundleIndex must be from 0 to ${bundles - 1}; got ${bundleIndex}`);
    }
    const member = memberIn(roles, group, bundleIndex);
    const server = member?.server ?? (await this.#holder(cluster, group, bundleIndex ?? 0));
    const { ip, ports } = await leasePorts({ server }, "group-master", 1);
    return { ip, port: ports[0]! };
  }

  #holder(cluster: SchedulerCluster, group: SchedulerGroup, bundleIndex: number): Promise<ServerHandle> {
    const key = `${group.id}/${bundleIndex}`;
    const known = this.#holders.get(key);
    if (known) return known;
    const placement = {
      groupId: group.id,
      bundleIndex,
      cpu: 0,
      devices: 0,
      device: "CPU",
      memoryBytes: 0,
      resources: {},
      captureChildTasks: false,
      graceMs: HOLDER_GRACE_MS,
    };
    const start = {
      workerId: `ports of ${key}`,
      env: {},
      pty: false,
      isolation: "env",
      graceMs: HOLDER_GRACE_MS,
      startTimeoutMs: HOLDER_GRACE_MS,
    } as const;
    const holder = cluster.server(placement, start);
    this.#holders.set(key, holder);
    holder.catch(() => this.#holders.delete(key));
    return holder;
  }

  async close(): Promise<void> {
    const holders = [...this.#holders.values()];
    this.#holders.clear();
    // One whose group is gone went with it.
    await Promise.allSettled(holders.map(async (holder) => (await holder).kill()));
  }
}

function memberIn(roles: Roles, group: SchedulerGroup, bundleIndex: number | undefined): Member | undefined {
  for (const name of roles.names()) {
    const found = roles
      .get(name)!
      .members.find(
        (member) => member.group.id === group.id && (bundleIndex === undefined || member.slot.bundle === bundleIndex),
      );
    if (found) return found;
  }
  return undefined;
}
