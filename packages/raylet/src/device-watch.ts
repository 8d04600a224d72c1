import { asWhiprayError, type Clock, type Logger, type Timer, WhiprayError } from "@whipray/core";
import { type DeathCause, type DeviceReport, type DeviceState, nodeDevicesSeen } from "@whipray/rpc";
import type { DeviceEyes, DeviceLook, SeenDevice } from "./device-eyes.ts";
import type { DeviceStrangers } from "./device-strangers.ts";
import type { Guards } from "./guards.ts";
import type { HeadLink } from "./head-link.ts";
import type { HostedActor, HostedActors } from "./hosted-actors.ts";
import type { Ledger } from "./ledger.ts";
import type { NodeDevice } from "./node-identity.ts";
import type { Processes } from "./processes.ts";
import { RAYLET_MARK } from "./runtime-directory.ts";

/** From the end of one look to the next. */
export const LOOK_EVERY_MS = 10_000;
/** And when something is not as it should be, or a lock was refused. */
export const LOOK_SOON_MS = 1_000;
/** Looks in a row that must call a device unhealthy before its owners are ended: one garbled answer ends no training. */
export const LOOKS_TO_LOSE = 2;
/** How long what an older incarnation of this node left is killed before it counts as stuck. */
const EVICT_MS = 5_000;

export interface DeviceWatchOptions {
  readonly nodeId: string;
  readonly devices: readonly NodeDevice[];
  readonly eyes: DeviceEyes;
  readonly ledger: Ledger;
  readonly actors: HostedActors;
  readonly strangers: DeviceStrangers;
  readonly processes: Processes;
  readonly head: HeadLink;
  readonly clock: Clock;
  readonly logger: Logger;
  /** From the end of one look to the next. Default `LOOK_EVERY_MS`. */
  readonly everyMs?: number | undefined;
  /** Ends an actor and all that runs in its lease. */
  readonly end: (actor: HostedActor, cause: DeathCause) => Promise<void>;
}

/**
 * Looks at the devices of this node again and again, apart from any request: what is unhealthy, used by a process without a
 * lease, or locked by somebody else is not granted and says why (reliability F33, F34); owners of a device that is lost fail with
 * DEVICE_LOST; a look that failed changes nothing (F35).
 */
export class DeviceWatch {
  readonly #options: DeviceWatchOptions;
  /** Device → looks in a row that found it unhealthy. */
  readonly #bad = new Map<string, number>();
  readonly #busy = new Set<string>();
  /** Who waits until nobody is seen on some devices who should not be there. */
  readonly #clearing = new Set<{ uuids: readonly string[]; clear: () => void }>();
  #timer: Timer | undefined;
  #looking: Promise<void> | undefined;
  #report: { report: Omit<DeviceReport, "agoMs">; atMs: number } | undefined;
  #telling = false;
  #closed = false;

  constructor(options: DeviceWatchOptions) {
    this.#options = options;
    this.watch(options.devices);
  }

  /** These devices are of the node from now on; what is known against them holds before the next look. */
  watch(devices: readonly NodeDevice[]): void {
    for (const { uuid, leftBy } of devices) {
      if (leftBy === undefined) continue;
      const why = `processes of ${leftBy.node}, which is dead, cannot be killed`;
      this.#options.ledger.withhold(uuid, "quarantined", why);
    }
    if (this.#timer) this.soon();
  }

  /** The first look: before anything is offered. Then on and on. */
  async start(): Promise<void> {
    await this.#look(true);
  }

  /** Something was refused that the last look did not show: looks again as soon as it may. */
  soon(): void {
    if (!this.#looking) this.#next(LOOK_SOON_MS);
  }

  /** A lock was refused: who has it? Empty when nobody has it any more. */
  async locked(paths: readonly string[]): Promise<string> {
    this.soon();
    const { eyes, devices } = this.#options;
    const holders = await eyes.holders();
    const mine = devices.filter((device) => paths.includes(device.lockPath));
    return mine.flatMap(({ uuid }) => holders.get(uuid)?.text ?? []).join("; ");
  }

  /** Settles when a look that is still to come finds nobody on these devices who holds no lease of them; at once where their vendor's tool tells no processes. */
  clear(uuids: readonly string[]): Promise<void> {
    this.soon();
    return new Promise((clear) => this.#clearing.add({ uuids, clear }));
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  #next(afterMs: number): void {
    this.#timer?.cancel();
    if (!this.#closed) this.#timer = this.#options.clock.after(afterMs, () => void this.#look(false));
  }

  #look(first: boolean): Promise<void> {
    this.#looking ??= this.#once(first)
      .then((calm) => this.#next(calm ? (this.#options.everyMs ?? LOOK_EVERY_MS) : LOOK_SOON_MS))
      .finally(() => {
        this.#looking = undefined;
      });
    return this.#looking;
  }

  /** Answers whether nothing needs a closer look. */
  async #once(first: boolean): Promise<boolean> {
    const { eyes, ledger, head, logger, clock } = this.#options;
    const clearing = [...this.#clearing];
    let look: DeviceLook;
    try {
      look = await eyes.look(first);
    } catch (error) {
      logger.error("a look at the devices failed", { error: asWhiprayError(error).message });
      return true;
    }
    if (this.#closed) return true;
    const before = ledger.version;
    for (const device of this.#options.devices) await this.#leftovers(device);
    const calm = look.devices.map((device) => this.#judge(device, look.stale !== undefined)).every(Boolean);
    for (const { holder } of look.devices) if (holder?.olderIncarnation) await this.#evict(holder.olderIncarnation);
    const states = look.devices.map(({ users: _, holder: __, ...state }): DeviceState => {
      return (this.#bad.get(state.uuid) ?? 0) >= LOOKS_TO_LOSE ? { ...state, lost: true } : state;
    });
    this.#report = {
      report: { states, ...(look.stale !== undefined && { stale: look.stale }) },
      atMs: clock.now(),
    };
    for (const wait of clearing) {
      const seen = look.devices.filter(({ uuid }) => wait.uuids.includes(uuid));
      if (!seen.every(({ uuid, users }) => this.#isClear(uuid, users, look.stale))) continue;
      this.#clearing.delete(wait);
      wait.clear();
    }
    if (ledger.version !== before) head.viewChanged();
    void this.tell();
    return calm && this.#clearing.size === 0;
  }

  #judge(device: SeenDevice, stale: boolean): boolean {
    const { ledger, logger } = this.#options;
    const { uuid, health, healthReason } = device;
    const before = ledger.withheld(uuid)?.reason;
    ledger.setHealth(uuid, health, healthReason);
    ledger.withhold(uuid, "locked", device.holder && `its lock is held by ${device.holder.text}`);
    if (device.users) this.#setBusy(uuid, this.#options.strangers.of(uuid, device.users, true));
    const now = ledger.withheld(uuid);
    if (now?.reason !== before) {
      if (now) logger.warn("a device is not offered", { device: uuid, ...now });
      else logger.info("a device is offered again", { device: uuid });
      if (now && now.kind !== "unhealthy") this.#warnOwners(uuid, `${now.kind}: ${now.reason}`);
    }
    if (health !== "unhealthy") {
      this.#bad.delete(uuid);
      return !this.#options.strangers.doubtful(uuid);
    }
    // A look that failed has not seen it again.
    const looks = (this.#bad.get(uuid) ?? 0) + (stale ? 0 : 1);
    this.#bad.set(uuid, looks);
    if (looks >= LOOKS_TO_LOSE) this.#lose(uuid, healthReason ?? "it is unhealthy");
    return looks >= LOOKS_TO_LOSE;
  }

  /** What the look said of the users of a device; a tool that failed says nothing, one that never tells them clears. */
  #isClear(uuid: string, users: SeenDevice["users"], stale: string | undefined): boolean {
    if (!users) return stale === undefined;
    return !this.#busy.has(uuid) && !this.#options.strangers.doubtful(uuid);
  }

  #setBusy(uuid: string, why: string | undefined): void {
    this.#options.ledger.withhold(uuid, "busy", why);
    if (why === undefined) this.#busy.delete(uuid);
    else this.#busy.add(uuid);
  }

  /** Whoever runs there finds it in its log. */
  #warnOwners(uuid: string, why: string): void {
    for (const actor of this.#ownersOf(uuid)) {
      actor.worker?.log.write("err", Buffer.from(`whipray: ${this.#nameOf(uuid)} of this actor is ${why}\n`));
    }
  }

  #lose(uuid: string, reason: string): void {
    const message = `device ${this.#nameOf(uuid)} was lost: ${reason}`.slice(0, 1_024);
    for (const actor of this.#ownersOf(uuid)) {
      if (!actor.ending) void this.#options.end(actor, { kind: "DEVICE_LOST", message });
    }
  }

  #ownersOf(uuid: string): HostedActor[] {
    const { ledger, actors } = this.#options;
    return ledger.leasesOn(uuid).flatMap((lease) => actors.ofLease(lease.leaseId) ?? []);
  }

  #nameOf(uuid: string): string {
    const device = this.#options.devices.find((one) => one.uuid === uuid);
    return device ? `${uuid} (${device.resource} ${device.index})` : uuid;
  }

  /** What a dead raylet left on a device may be gone at last. It may have been of this very node: its incarnation tells its processes from ours. */
  async #leftovers({ uuid, leftBy }: NodeDevice): Promise<void> {
    const { ledger, processes } = this.#options;
    if (leftBy === undefined || ledger.withheld(uuid)?.kind !== "quarantined") return;
    const { left } = await processes.sweep(RAYLET_MARK, leftBy.raylet, 0);
    if (left === 0) ledger.withhold(uuid, "quarantined", undefined);
  }

  /** Processes of our own predecessor hold the lock: they go (mechanism 11). */
  async #evict(incarnation: string): Promise<void> {
    const { processes, logger } = this.#options;
    const { killed, left } = await processes.sweep(RAYLET_MARK, incarnation, EVICT_MS);
    logger.warn("ended what an older incarnation of this node left on its devices", { incarnation, killed, left });
  }

  /** Tells the head what the last look found; after a registration too. */
  async tell(): Promise<void> {
    const { head, nodeId, clock, logger } = this.#options;
    if (!this.#report || this.#telling || head.epoch === 0 || !head.peer) return;
    this.#telling = true;
    try {
      const { report, atMs } = this.#report;
      const told = { ...report, agoMs: Math.max(0, Math.round(clock.now() - atMs)) };
      await head.peer.invoke(nodeDevicesSeen, { nodeId, epoch: head.epoch, report: told });
    } catch (error) {
      // The next look tells again.
      logger.debug("the head was not told of the devices", { error: asWhiprayError(error).message });
    } finally {
      this.#telling = false;
    }
  }
}

/**
 * Guards whose refusal for a lock names who holds it, also where that is a program that wrote no name; `locked` is told of it: the
 * next look withholds the device.
 */
export function tellingLocks(guards: Guards, locked: (paths: readonly string[]) => Promise<string>): Guards {
  return {
    async start(spec) {
      try {
        return await guards.start(spec);
      } catch (error) {
        if (!(error instanceof WhiprayError) || error.code !== "DEVICE_LOCKED") throw error;
        const { message, details, retryable } = error;
        const holder = await locked(spec.locks);
        throw new WhiprayError({
          code: "DEVICE_LOCKED",
          message: holder === "" ? message : `${message}; held by ${holder}`,
          retryable,
          details,
          cause: error,
        });
      }
    },
    close: () => guards.close(),
  };
}
