import {
  asWhiprayError,
  backoffMs,
  type Clock,
  type LinkMatrix,
  type Logger,
  type RandomSource,
  type Timer,
} from "@whipray/core";
import type { NodeDevice } from "./node-identity.ts";

/** Waits between tries of a probe that failed at the start: a driver may be loaded late, a tool may hang for a while. */
export const PROBE_AGAIN = { firstMs: 5_000, maxMs: 300_000, jitter: 0.2 };

/** What a node has beyond what it knew. */
export interface MoreDevices {
  readonly devices: readonly NodeDevice[];
  /** Links of all devices, the known ones first. */
  readonly links: LinkMatrix | undefined;
  /** Scalars of the node with them, in units: `accelerator_type:H100` may be new. */
  readonly scalars: Readonly<Record<string, number>>;
}

/** Asks the vendors again whose devices are not known. */
export interface LateProbe {
  /** Undefined when nothing came of it. `again`: there is still a vendor whose probe failed. */
  look(): Promise<{ readonly more?: MoreDevices; readonly again: boolean }>;
}

export interface LateDevicesOptions {
  readonly probe: LateProbe;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly logger: Logger;
  readonly onMore: (more: MoreDevices) => void;
}

/** A probe that failed when the node started is tried again, until it tells: a failed probe is not zero devices (device rule 9). */
export class LateDevices {
  readonly #options: LateDevicesOptions;
  #timer: Timer | undefined;
  #attempt = 0;
  #closed = false;

  constructor(options: LateDevicesOptions) {
    this.#options = options;
  }

  start(): void {
    const { clock, random } = this.#options;
    if (this.#closed) return;
    this.#timer = clock.after(backoffMs(PROBE_AGAIN, ++this.#attempt, random), () => void this.#try());
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  async #try(): Promise<void> {
    const { probe, logger, onMore } = this.#options;
    try {
      const { more, again } = await probe.look();
      if (this.#closed) return;
      if (more) {
        logger.info("devices were found that were not known", { devices: more.devices.map(({ uuid }) => uuid) });
        onMore(more);
      }
      if (again) this.start();
    } catch (error) {
      // The node's own list does not fit what was found: trying again would not help.
      logger.error("devices that were found late cannot be offered", { error: asWhiprayError(error).message });
    }
  }
}
