import type { Logger } from "@whipray/core";
import type { DeviceGrant } from "@whipray/rpc";
import type { Ledger } from "./ledger.ts";

/**
 * Devices on which something still runs that could not be ended (D state): not offered until it is gone, named in the logs
 * (reliability P6, F23).
 */
export class Quarantine {
  readonly #ledger: Ledger;
  readonly #logger: Logger;
  readonly #changed: () => void;
  /** Device → how many trees are still on it. */
  readonly #holds = new Map<string, number>();

  constructor(ledger: Ledger, logger: Logger, changed: () => void) {
    this.#ledger = ledger;
    this.#logger = logger;
    this.#changed = changed;
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
