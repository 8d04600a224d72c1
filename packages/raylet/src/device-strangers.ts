import type { DeviceUser } from "./device-eyes.ts";
import type { HostedActors } from "./hosted-actors.ts";
import type { Lease, Ledger } from "./ledger.ts";

/** Strangers of one device that a reason names. */
const SHOWN_LIMIT = 4;

export interface DeviceStrangersOptions {
  readonly nodeId: string;
  readonly ledger: Ledger;
  readonly actors: HostedActors;
}

/** Tells users of a device that hold a lease of it from those that do not (reliability F33). */
export class DeviceStrangers {
  readonly #options: DeviceStrangersOptions;
  /** Device → a pid that was not here at the last look, and that no lease explains. */
  readonly #unseen = new Map<string, number>();

  constructor(options: DeviceStrangersOptions) {
    this.#options = options;
  }

  /** Somebody uses the device who may just have ended: a second look will tell. */
  doubtful(uuid: string): boolean {
    return this.#unseen.has(uuid);
  }

  /**
   * Why a device is busy; undefined when all its users hold it.
   * @param remember whether this is one of the looks that follow each other: who is not here counts from its second on.
   */
  of(uuid: string, users: readonly DeviceUser[], remember: boolean): string | undefined {
    const leases = this.#options.ledger.leasesOn(uuid);
    const strangers: string[] = [];
    let unseen: number | undefined;
    for (const user of users) {
      if (user.is === "foreign") strangers.push(`foreign pid ${user.pid}${user.name ? ` (${user.name})` : ""}`);
      else if (user.is === "unseen") unseen = leases.length === 0 ? user.pid : undefined;
      else if (!this.#holds(user, leases)) {
        const lease = this.#leaseOf(user) ?? "a lease that is over";
        strangers.push(`pid ${user.pid} of ${lease}, which does not hold it`);
      }
    }
    // Who is not here may just have ended; twice in a row it is somebody of another container.
    if (unseen !== undefined && this.#unseen.get(uuid) === unseen)
      strangers.push(`foreign pid ${unseen} (not of this container)`);
    if (remember && unseen === undefined) this.#unseen.delete(uuid);
    else if (remember) this.#unseen.set(uuid, unseen!);
    return strangers.length === 0 ? undefined : strangers.slice(0, SHOWN_LIMIT).join(", ");
  }

  #leaseOf({ leaseId, workerId }: DeviceUser & { is: "ours" }): string | undefined {
    const { actors, nodeId } = this.#options;
    return leaseId ?? actors.ofAddress(`${nodeId}/${workerId}`)?.lease.leaseId;
  }

  /** Engines that use what they claimed name their actor's lease. */
  #holds(user: DeviceUser & { is: "ours" }, leases: readonly Lease[]): boolean {
    const mine = this.#leaseOf(user);
    return leases.some(({ leaseId }) => {
      return [leaseId, this.#options.actors.ofLease(leaseId)?.lease.leaseId].includes(mine);
    });
  }
}
