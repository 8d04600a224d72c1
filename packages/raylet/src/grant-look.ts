import { asWhiprayError, type Clock, delay, type Logger } from "@whipray/core";
import type { DeviceGrant } from "@whipray/rpc";
import type { DeviceEyes, DeviceUser } from "./device-eyes.ts";
import type { DeviceStrangers } from "./device-strangers.ts";
import { LOOK_EVERY_MS } from "./device-watch.ts";
import type { Ledger } from "./ledger.ts";
import { showWithheld } from "./withheld.ts";

/** What a look told counts for grants that come so soon after it began. */
export const FRESH_MS = 1_000;
/** A grant waits no longer for a look; then it believes what the last one found. Below the head's patience with a prepare. */
export const GRANT_LOOK_MS = 1_000;

export interface GrantLookOptions {
  readonly eyes: DeviceEyes;
  readonly strangers: DeviceStrangers;
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly logger: Logger;
  /** How long a grant waits for a look. Default `GRANT_LOOK_MS`. */
  readonly limitMs?: number | undefined;
  /** A device was found busy: looks go on soon, so that it is offered again when it is free. */
  readonly onBusy: () => void;
}

type Users = ReadonlyMap<string, readonly DeviceUser[]>;

interface Look {
  /** When it began. */
  readonly atMs: number;
  readonly users: Users;
}

/**
 * Asks who uses devices right before they are used, since a stranger may have come after the last look (reliability F33). The
 * devices are taken in the ledger by then, so other grants go on meanwhile.
 */
export class GrantLook {
  readonly #options: GrantLookOptions;
  #last: { readonly atMs: number; running: boolean; readonly look: Promise<Look | undefined> } | undefined;
  /** The vendor's tool hangs: no grant waits for it before this. */
  #patientAtMs = 0;

  constructor(options: GrantLookOptions) {
    this.#options = options;
  }

  /**
   * Why these devices cannot be given away: a process uses one that holds no lease of it. They are withheld then. Undefined when
   * nothing is against it, or when it cannot be found out in time.
   */
  async refusal(devices: readonly DeviceGrant[]): Promise<string | undefined> {
    if (devices.length === 0) return undefined;
    const askedMs = this.#options.clock.now();
    let look = await this.#look(askedMs - FRESH_MS);
    // Whoever an older look saw may have given the device back meanwhile, and this grant may be of what it left.
    if (look && look.atMs < askedMs && this.#busy(devices, look.users).length > 0) look = await this.#look(askedMs);
    const busy = look ? this.#busy(devices, look.users) : [];
    if (busy.length === 0) return undefined;
    const { ledger, logger, onBusy } = this.#options;
    for (const { device, reason } of busy) {
      ledger.withhold(device.uuid, "busy", reason);
      logger.warn("a device is not granted", { device: device.uuid, kind: "busy", reason });
    }
    onBusy();
    const shown = busy.map(({ device: { resource, index }, reason }) => {
      return `${resource} ${index} is not offered (${showWithheld({ kind: "busy", reason })})`;
    });
    return shown.join("; ");
  }

  #busy(devices: readonly DeviceGrant[], users: Users): { device: DeviceGrant; reason: string }[] {
    return devices.flatMap((device) => {
      const reason = this.#options.strangers.of(device.uuid, users.get(device.uuid) ?? [], false);
      return reason === undefined ? [] : [{ device, reason }];
    });
  }

  /** A look that began then or later; undefined when there is none in time. */
  async #look(sinceMs: number): Promise<Look | undefined> {
    const { clock, logger, limitMs = GRANT_LOOK_MS } = this.#options;
    if (clock.now() < this.#patientAtMs) return undefined;
    const late = Symbol("late");
    const look = await Promise.race([this.#shared(sinceMs), delay(clock, limitMs).then(() => late)]);
    if (typeof look !== "symbol") return look;
    this.#patientAtMs = clock.now() + LOOK_EVERY_MS;
    logger.warn("devices are granted as the last look found them: the vendor's tool takes too long", { limitMs });
    return undefined;
  }

  /** One look at a time, for all grants for which it is young enough. */
  async #shared(sinceMs: number): Promise<Look | undefined> {
    for (let last = this.#last; last; last = this.#last) {
      if (last.atMs >= sinceMs) return last.look;
      if (!last.running) break;
      await last.look;
    }
    const next = { atMs: this.#options.clock.now(), running: true, look: this.#begin() };
    this.#last = next;
    void next.look.finally(() => {
      next.running = false;
    });
    return next.look;
  }

  async #begin(): Promise<Look | undefined> {
    const { eyes, clock, logger } = this.#options;
    const atMs = clock.now();
    try {
      return { atMs, users: await eyes.users() };
    } catch (error) {
      logger.error("who uses the devices could not be found out", { error: asWhiprayError(error).message });
      return undefined;
    }
  }
}
