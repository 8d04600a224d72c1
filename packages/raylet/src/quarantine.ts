import type { Logger } from "@whipray/core";
import type { DeviceGrant } from "@whipray/rpc";
import type { GuardedTree, TreeEnd } from "./guards.ts";
import type { Ledger } from "./ledger.ts";

/**
 * Devices on which something still runs that could not be ended (D state): not offered until it is gone, named in the logs
 * (reliability P6, F23).
 */
export class Quarantine {
  readonly #ledger: Ledger;
  readonly #logger: Logger;
  readonly #changed: () => void;
  readonly #clear: (uuids: readonly string[]) => Promise<void>;
  /** Device → how many trees are still on it. */
  readonly #holds = new Map<string, number>();

  /** @param clear settles when the vendor's tool shows nobody on these devices who should not be, where it can tell */
  constructor(
    ledger: Ledger,
    logger: Logger,
    changed: () => void,
    clear: (uuids: readonly string[]) => Promise<void> = async () => {},
  ) {
    this.#ledger = ledger;
    this.#logger = logger;
    this.#changed = changed;
    this.#clear = clear;
  }

  /** After a tree was ended: what is left of it, or may be, holds its devices back. */
  ended(name: string, end: TreeEnd, devices: readonly DeviceGrant[], { gone }: Pick<GuardedTree, "gone">): void {
    if (end.left > 0) this.hold(devices, `${end.left} processes of ${name} cannot be killed`, gone);
    else if (end.unwatched) {
      const reason = `the guard of ${name} was killed, and no look has shown yet that all of it is gone`;
      this.hold(devices, reason, this.#clear(devices.map((device) => device.uuid)));
    }
  }

  /** Holds the devices back until `gone` resolves. */
  hold(devices: readonly DeviceGrant[], reason: string, gone: Promise<unknown>): void {
    if (devices.length === 0) return;
    const uuids = devices.map((device) => device.uuid);
    this.#logger.error("devices quarantined", { devices: uuids, reason });
    for (const uuid of uuids) {
      this.#holds.set(uuid, (this.#holds.get(uuid) ?? 0) + 1);
      this.#ledger.withhold(uuid, "quarantined", reason);
    }
    this.#changed();
    void gone.then(() => this.#release(uuids));
  }

  #release(uuids: readonly string[]): void {
    for (const uuid of uuids) {
      const left = (this.#holds.get(uuid) ?? 1) - 1;
      this.#holds.set(uuid, left);
      if (left > 0) continue;
      this.#holds.delete(uuid);
      this.#ledger.withhold(uuid, "quarantined", undefined);
    }
    this.#logger.info("devices offered again", { devices: [...uuids] });
    this.#changed();
  }
}
