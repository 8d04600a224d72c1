import {
  type Device,
  type DevicePlugin,
  type DeviceProcess,
  type DeviceStats,
  type Fingerprint,
  type Probe,
  refreshFingerprint,
} from "@whipray/devices";
import type { DeviceEyes, DeviceLook, DeviceUser, LockHolder, SeenDevice } from "./device-eyes.ts";

/** Pids of one device that are told. */
const PIDS_LIMIT = 64;

export interface PluginEyesOptions {
  readonly plugins: readonly DevicePlugin[];
  /** What detection found: one a plugin, in their order. */
  readonly fingerprints: readonly Fingerprint[];
  /** What this node offers. */
  readonly devices: readonly Device[];
  readonly probe: Probe;
  /** Asks about each pid that a vendor's tool names. */
  readonly userOf: (pid: number) => Promise<DeviceUser>;
  /** Locks that somebody else holds, by the uuid of their device. */
  readonly holders: () => Promise<ReadonlyMap<string, LockHolder>>;
}

interface Watched {
  readonly plugin: DevicePlugin;
  readonly devices: readonly Device[];
  fingerprint: Fingerprint;
}

/** What one vendor's tools said. */
interface Told {
  readonly stats: ReadonlyMap<string, DeviceStats>;
  /** Undefined: not known. */
  readonly processes: readonly DeviceProcess[] | undefined;
  readonly failures: readonly string[];
}

/**
 * Looks through the vendors' plugins, those alone whose devices this node offers. A tool that fails changes nothing: the last
 * known is kept, and the look says that it is stale (reliability F35).
 */
export class PluginEyes implements DeviceEyes {
  readonly #options: PluginEyesOptions;
  readonly #watched: Watched[];

  constructor(options: PluginEyesOptions) {
    this.#options = options;
    this.#watched = options.plugins.flatMap((plugin, at) => {
      const devices = options.devices.filter((device) => device.vendor === plugin.vendor);
      const fingerprint = options.fingerprints[at];
      return devices.length > 0 && fingerprint ? [{ plugin, devices, fingerprint }] : [];
    });
  }

  async look(first: boolean): Promise<DeviceLook> {
    const { devices, holders } = this.#options;
    const [told, held] = await Promise.all([
      Promise.all(this.#watched.map((watched) => this.#ask(watched, first))),
      holders(),
    ]);
    const seen = await Promise.all(
      devices.map(async (device): Promise<SeenDevice> => {
        const at = this.#watched.findIndex((watched) => watched.devices.includes(device));
        const holder = held.get(device.uuid);
        const known = at < 0 ? unwatched(device) : await this.#seen(device, this.#watched[at]!, told[at]!);
        return { ...known, ...(holder && { holder }) };
      }),
    );
    const failures = told.flatMap((one) => one.failures);
    return { devices: seen, ...(failures.length > 0 && { stale: failures.join("; ").slice(0, 1_024) }) };
  }

  async #ask(watched: Watched, first: boolean): Promise<Told> {
    const { plugin, devices } = watched;
    const { probe } = this.#options;
    const failures: string[] = [];
    if (!first) {
      watched.fingerprint = refreshFingerprint(watched.fingerprint, await plugin.fingerprint(probe));
      if (watched.fingerprint.stale) failures.push(failure(plugin, watched.fingerprint.error?.message));
    }
    const stats = await plugin.stats(probe, devices);
    const processes = await plugin.processes(probe, devices);
    for (const { state, error } of [stats, processes]) {
      // What a vendor's tool never tells is no failure of this look.
      if (state === "unknown" && error?.code !== "PROBE_UNSUPPORTED") failures.push(failure(plugin, error?.message));
    }
    return {
      stats: new Map(stats.stats.map((one) => [one.uuid, one])),
      processes: processes.state === "ok" ? processes.processes : undefined,
      failures: [...new Set(failures)],
    };
  }

  async #seen(device: Device, { fingerprint }: Watched, { stats, processes }: Told): Promise<SeenDevice> {
    const { uuid } = device;
    const now = [...fingerprint.devices, ...fingerprint.partitions].find((one) => one.uuid === uuid) ?? device;
    const { health: _, healthReason: __, eccErrors: ___, xids: ____, ...figures } = stats.get(uuid) ?? { uuid };
    const worst = [now, stats.get(uuid)].find((one) => one?.health === "unhealthy") ?? now;
    const using = processes?.filter((process) => process.uuid === uuid);
    const users = using && (await Promise.all(using.map(({ pid }) => this.#options.userOf(pid))));
    return {
      ...figures,
      health: worst.health,
      ...(worst.healthReason !== undefined && { healthReason: worst.healthReason.slice(0, 512) }),
      ...(users && { users, pids: users.map(({ pid }) => pid).slice(0, PIDS_LIMIT) }),
    };
  }
}

/** A device that is only declared: nothing can be asked about it. */
function unwatched({ uuid, health }: Device): SeenDevice {
  return { uuid, health };
}

function failure({ vendor }: DevicePlugin, message = "the look failed"): string {
  return `${vendor}: ${message}`;
}
