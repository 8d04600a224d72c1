import {
  type Device,
  type DevicePlugin,
  type DeviceProcess,
  type DeviceStats,
  type Fingerprint,
  type Probe,
  type ProbeFailure,
  refreshFingerprint,
} from "@whipray/devices";
import type { DeviceEyes, DeviceLook, DeviceUser, LockHolder, SeenDevice } from "./device-eyes.ts";

/** Pids of one device that are told. */
const PIDS_LIMIT = 64;

export interface PluginEyesOptions {
  readonly plugins: readonly DevicePlugin[];
  /** What detection found: one a plugin, in their order. */
  readonly fingerprints: readonly Fingerprint[];
  /** What this node offers; grows when more is found. */
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
  /** As last told. */
  stats: ReadonlyMap<string, DeviceStats>;
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
  readonly #watched: Watched[] = [];

  constructor(options: PluginEyesOptions) {
    this.#options = options;
    this.watch(options.plugins, options.fingerprints);
  }

  /** What was found late is in the list of devices by now. */
  watch(plugins: readonly DevicePlugin[], fingerprints: readonly Fingerprint[]): void {
    for (const [at, plugin] of plugins.entries()) {
      const devices = this.#options.devices.filter((device) => device.vendor === plugin.vendor);
      const fingerprint = fingerprints[at];
      if (devices.length > 0 && fingerprint) this.#watched.push({ plugin, devices, fingerprint, stats: new Map() });
    }
  }

  holders(): Promise<ReadonlyMap<string, LockHolder>> {
    return this.#options.holders();
  }

  async look(first: boolean): Promise<DeviceLook> {
    const { devices } = this.#options;
    const [told, held] = await Promise.all([
      Promise.all(this.#watched.map((watched) => this.#ask(watched, first))),
      this.holders(),
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

  async users(): Promise<ReadonlyMap<string, readonly DeviceUser[]>> {
    const { probe } = this.#options;
    const all = await Promise.all(
      this.#watched.map(async ({ plugin, devices }) => {
        const { state, processes } = await plugin.processes(probe, devices);
        if (state !== "ok") return [];
        return Promise.all(devices.map(async ({ uuid }) => [uuid, await this.#usersOf(uuid, processes)] as const));
      }),
    );
    return new Map(all.flat());
  }

  #usersOf(uuid: string, processes: readonly DeviceProcess[]): Promise<DeviceUser[]> {
    const using = processes.filter((process) => process.uuid === uuid);
    return Promise.all(using.map(({ pid }) => this.#options.userOf(pid)));
  }

  /** One question after the other; a tool that failed is not asked on, so that one that hangs costs its time limit once. */
  async #ask(watched: Watched, first: boolean): Promise<Told> {
    const { plugin, devices } = watched;
    const { probe } = this.#options;
    const failed = (message: string | undefined): Told => {
      return {
        stats: watched.stats,
        processes: undefined,
        failures: [`${plugin.vendor}: ${message ?? "the look failed"}`],
      };
    };
    if (!first) {
      watched.fingerprint = refreshFingerprint(watched.fingerprint, await plugin.fingerprint(probe));
      if (watched.fingerprint.stale) return failed(watched.fingerprint.error?.message);
    }
    const stats = await plugin.stats(probe, devices);
    if (isFailure(stats)) return failed(stats.error?.message);
    watched.stats = new Map(stats.stats.map((one) => [one.uuid, one]));
    const processes = await plugin.processes(probe, devices);
    if (isFailure(processes)) return failed(processes.error?.message);
    const told = processes.state === "ok" ? processes.processes : undefined;
    return { stats: watched.stats, processes: told, failures: [] };
  }

  async #seen(device: Device, { fingerprint }: Watched, { stats, processes }: Told): Promise<SeenDevice> {
    const { uuid } = device;
    const now = [...fingerprint.devices, ...fingerprint.partitions].find((one) => one.uuid === uuid) ?? device;
    const worst = [now, stats.get(uuid)].find((one) => one?.health === "unhealthy") ?? now;
    const users = processes && (await this.#usersOf(uuid, processes));
    return {
      ...figuresOf(stats.get(uuid) ?? { uuid, health: now.health }),
      health: worst.health,
      ...(worst.healthReason !== undefined && { healthReason: worst.healthReason.slice(0, 512) }),
      ...(users && { users, pids: users.map(({ pid }) => pid).slice(0, PIDS_LIMIT) }),
    };
  }
}

/** As they travel: bytes are whole, and what is no number is not told. */
function figuresOf({ uuid, xids, ...stats }: DeviceStats) {
  const { utilization, memoryUsedBytes, memoryTotalBytes, temperatureC, powerW, eccErrors } = stats;
  const bytes = (value: number | undefined) => (value === undefined ? undefined : Math.max(0, Math.round(value)));
  const figures = {
    ...{ utilization, temperatureC, powerW, eccErrors },
    ...{ memoryUsedBytes: bytes(memoryUsedBytes), memoryTotalBytes: bytes(memoryTotalBytes) },
  };
  const known = Object.entries(figures).filter(([, value]) => value !== undefined && Number.isFinite(value));
  const numbers = Object.fromEntries(known) as Partial<Record<keyof typeof figures, number>>;
  return { uuid, ...numbers, ...(xids && { xids: [...xids] }) };
}

/** A device that is only declared: nothing can be asked about it. */
function unwatched({ uuid, health }: Device): SeenDevice {
  return { uuid, health };
}

/** What a vendor's tool never tells is no failure of a look. */
function isFailure({ state, error }: { readonly state: string; readonly error?: ProbeFailure }): boolean {
  return state === "unknown" && error?.code !== "PROBE_UNSUPPORTED";
}
