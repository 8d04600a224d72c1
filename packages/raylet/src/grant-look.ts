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
  /** A device was found busy: looks go on soon, so that it is offered again when it is free. */
  readonly onBusy: () => void;
}

type Users = ReadonlyMap<string, readonly DeviceUser[]>;

/**
 * Asks who uses devices right before they are used, since a stranger may have come after the last look (reliability F33). The
 * devices are taken in the ledger by then, so other grants go on meanwhile.
 */
export class GrantLook {
  readonly #options: GrantLookOptions;
  #last: { readonly users: Promise<Users | undefined>; readonly atMs: number } | undefined;
  #running = false;
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
    const users = devices.length === 0 ? undefined : await this.#users();
    if (!users) return undefined;
    const { ledger, strangers, logger, onBusy } = this.#options;
    const busy: string[] = [];
    for (const { uuid, resource, index } of devices) {
      const why = strangers.of(uuid, users.get(uuid) ?? [], false);
      if (why === undefined) continue;
      ledger.withhold(uuid, "busy", why);
      logger.warn("a device is not granted", { device: uuid, kind: "busy", reason: why });
      busy.push(`${resource} ${index} is not offered (${showWithheld({ kind: "busy", reason: why })})`);
    }
    if (busy.length === 0) return undefined;
    onBusy();
    return busy.join("; ");
  }

  async #users(): Promise<Users | undefined> {
    const { clock, logger } = this.#options;
    if (clock.now() < this.#patientAtMs) return undefined;
    const late = Symbol("late");
    const users = await Promise.race([this.#look(), delay(clock, GRANT_LOOK_MS).then(() => late)]);
    if (typeof users !== "symbol") return users;
    this.#patientAtMs = clock.now() + LOOK_EVERY_MS;
    logger.warn("devices are granted as the last look found them: the vendor's tool takes too long", {
      limitMs: GRANT_LOOK_MS,
    });
    return undefined;
  }

  /** One look at a time, for all grants that come while it is fresh. */
  #look(): Promise<Users | undefined> {
    const { eyes, clock, logger } = this.#options;
    const nowMs = clock.now();
    if (this.#last && (this.#running || nowMs - this.#last.atMs < FRESH_MS)) return this.#last.users;
    this.#running = true;
    const users = eyes
      .users()
      .catch((error: unknown) => {
        logger.error("who uses the devices could not be found out", { error: asWhiprayError(error).message });
        return undefined;
      })
      .finally(() => {
        this.#running = false;
      });
    this.#last = { users, atMs: nowMs };
    return users;
  }
}
