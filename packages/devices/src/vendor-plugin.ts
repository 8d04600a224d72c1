import type { Device } from "./device.ts";
import type { Fingerprint, ProbeFailure, ProcessReport, StatsReport } from "./fingerprint.ts";
import type { Look, LookFor } from "./look.ts";
import type { DevicePlugin } from "./plugin.ts";
import type { Environment, Probe } from "./probe.ts";
import { blankFingerprint, untold } from "./probe-failure.ts";
import { rowDevice, rowIdentity, rowStats, type ToolRow } from "./tool-row.ts";
import { isNoset, visibleEntries } from "./visibility.ts";

/** One vendor in the terms of its tool's rows; `vendorPlugin` makes the plugin of it. */
export interface VendorSpec {
  readonly vendor: string;
  readonly resource: string;
  /** Name of the tool for people; `/dev` where there is none. */
  readonly tool: string;
  /** Begins identities that are the machine's own. */
  readonly prefix: string;
  readonly variable: string | undefined;
  /** More names that keep the variable from being written, beside RAY_EXPERIMENTAL_NOSET_<variable>. */
  readonly noset?: readonly string[];
  /** More variables that `also` writes. */
  readonly reserved?: readonly string[];
  readonly acceleratorType: (name: string) => string;
  readonly look: (probe: Probe, purpose: LookFor, signal?: AbortSignal) => Promise<Look>;
  /** Whether a look tells processes; where it does not, those count that have a file of the device open. */
  readonly tellsProcesses?: boolean;
  /** How a device is written in the variable. Default: its index. */
  readonly write?: (device: Device) => string;
  /** Whether an entry means the device. Default: its index. */
  readonly names?: (entry: string, device: Device) => boolean;
  /** Variables beside the list. */
  readonly also?: (entries: readonly string[], nodeEnvironment: Environment) => Record<string, string>;
  readonly ownList?: DevicePlugin["ownList"];
  readonly checkNode?: DevicePlugin["checkNode"];
  readonly wholeOnly?: boolean;
}

/** A plugin whose tool prints rows. */
export function vendorPlugin(spec: VendorSpec): DevicePlugin {
  const { vendor, resource, variable, tool } = spec;
  const plugin: DevicePlugin = {
    vendor,
    resource,
    visibilityVariable: variable,
    reservedVariables: [...(variable === undefined ? [] : [variable]), ...(spec.reserved ?? [])],
    nosetVariables: [...(variable === undefined ? [] : [`RAY_EXPERIMENTAL_NOSET_${variable}`]), ...(spec.noset ?? [])],
    noDeviceWords: ["-1", "NoDevFiles"],
    wholeOnly: spec.wholeOnly ?? false,
    ...(spec.ownList && { ownList: spec.ownList }),
    ...(spec.checkNode && { checkNode: spec.checkNode }),
    names: spec.names ?? ((entry, device) => /^\d{1,9}$/.test(entry) && Number(entry) === device.index),
    visibility(request) {
      if (variable === undefined || isNoset(plugin, request)) return {};
      const entries = visibleEntries(plugin, request, spec.write ?? ((device) => String(device.index)));
      return { [variable]: entries.join(","), ...spec.also?.(entries, request.nodeEnvironment) };
    },
    async fingerprint(probe, signal): Promise<Fingerprint> {
      const look = await spec.look(probe, "identify", signal);
      const { state, rows, unusable, warnings, version, elapsedMs, error } = look;
      const devices = await Promise.all(rows.map((row) => rowDevice(probe, spec, row)));
      const uuids = new Map(rows.map((row, at) => [row.index, devices[at]!.uuid]));
      const links = (look.links ?? []).flatMap(({ from, to, ...link }) => {
        const [one, other] = [uuids.get(from), uuids.get(to)];
        return one !== undefined && other !== undefined && one !== other ? [{ from: one, to: other, ...link }] : [];
      });
      return {
        ...{ ...blankFingerprint(vendor, tool, elapsedMs), state, devices, unusable, warnings, links },
        ...(version && { version }),
        ...(error && { error }),
      };
    },
    async stats(probe, devices, signal): Promise<StatsReport> {
      if (devices.length === 0) return { state: "ok", stats: [], warnings: [], elapsedMs: 0 };
      const look = await spec.look(probe, "stats", signal);
      const { warnings, elapsedMs } = look;
      if (look.state !== "ok") return { state: "unknown", stats: [], warnings, elapsedMs, error: errorOf(look) };
      const rows = rowsByUuid(probe, look.rows);
      const stats = devices.flatMap(({ uuid }) => (rows.has(uuid) ? [rowStats(uuid, rows.get(uuid)!)] : []));
      return { state: "ok", stats, warnings, elapsedMs };
    },
    async processes(probe, devices, signal): Promise<ProcessReport> {
      if (devices.length === 0) return { state: "ok", processes: [], warnings: [], elapsedMs: 0 };
      if (!spec.tellsProcesses) return openers(spec, probe, devices);
      const look = await spec.look(probe, "processes", signal);
      const { warnings, elapsedMs } = look;
      if (look.state !== "ok" || !look.processes) {
        return { state: "unknown", processes: [], warnings, elapsedMs, error: errorOf(look) };
      }
      const rows = rowsByUuid(probe, look.rows);
      const processes = devices.flatMap(({ uuid }) =>
        look
          .processes!.filter(({ index }) => index === rows.get(uuid)?.index)
          .map(({ index: _index, ...process }) => ({ uuid, ...process })),
      );
      return { state: "ok", processes, warnings, elapsedMs };
    },
  };
  const rowsByUuid = (probe: Probe, rows: readonly ToolRow[]) =>
    new Map(rows.map((row) => [rowIdentity(probe, spec, row).uuid, row]));
  return plugin;
}

/** Who has a file of the devices open: where the vendor's tool does not name their processes. */
async function openers({ vendor, tool }: VendorSpec, probe: Probe, devices: readonly Device[]): Promise<ProcessReport> {
  const files = devices.flatMap((device) => device.files ?? []);
  if (files.length === 0) return { processes: [], ...untold(vendor, "processes") };
  const { pids, elapsedMs, message } = await probe.users(files, [tool]);
  if (!pids) {
    const error = { code: "PROBE_FAILED", message };
    return { state: "unknown", processes: [], warnings: [], elapsedMs, error };
  }
  const processes = devices.flatMap(({ uuid, files: mine = [] }) =>
    [...new Set(mine.flatMap((file) => pids.get(file) ?? []))].map((pid) => ({ uuid, pid })),
  );
  return { state: "ok", processes, warnings: [], elapsedMs };
}

function errorOf({ error }: Look): ProbeFailure {
  return error ?? { code: "PROBE_UNREADABLE", message: "the tool does not tell this" };
}
