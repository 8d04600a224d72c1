import { type Device, type DeviceStats, lockNameOf, type UnusableDevice } from "../device.ts";
import type { Fingerprint, StatsReport } from "../fingerprint.ts";
import { numaNodeOf } from "../pci.ts";
import type { DevicePlugin } from "../plugin.ts";
import type { Probe, ProbeOutcome } from "../probe.ts";
import { blankFingerprint, failedStats, failureOf } from "../probe-failure.ts";
import { isNoset, visibleEntries } from "../visibility.ts";
import { WarningList } from "../warning-list.ts";
import {
  type NvidiaGpu,
  type NvidiaMig,
  type NvidiaOutput,
  parseNvidiaList,
  parseNvidiaQuery,
} from "./nvidia-output.ts";

const TOOL = "nvidia-smi";
const OLD_DRIVER_QUERY = "index,uuid,name,memory.total,driver_version";
const QUERY = `${OLD_DRIVER_QUERY},pci.bus_id,mig.mode.current,ecc.errors.uncorrected.volatile.total`;
const STATS_QUERY = "index,uuid,utilization.gpu,memory.used,memory.total,temperature.gpu,power.draw";

/**
 * NVIDIA GPUs by `nvidia-smi`. A GPU in MIG mode is no whole device; its MIG devices are partitions, used where the node's
 * CUDA_VISIBLE_DEVICES names them.
 */
export const nvidia: DevicePlugin = {
  vendor: "nvidia",
  resource: "GPU",
  visibilityVariable: "CUDA_VISIBLE_DEVICES",
  reservedVariables: ["CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"],
  nosetVariables: ["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"],
  noDeviceWords: ["-1", "NoDevFiles"],
  fingerprint,
  names(entry, device) {
    if (/^\d{1,9}$/.test(entry)) return Number(entry) === device.index && !device.uuid.startsWith("MIG-");
    // CUDA takes the beginning of a UUID when it is enough to tell the GPUs apart; of a MIG device only the whole.
    return entry.startsWith("GPU-") && device.uuid.startsWith(entry);
  },
  visibility(request) {
    if (isNoset(nvidia, request)) return {};
    const write = (device: Device) => (device.uuid.startsWith("MIG-") ? device.uuid : String(device.index));
    return {
      CUDA_VISIBLE_DEVICES: visibleEntries(nvidia, request, write).join(","),
      // CUDA counts the fastest GPU first unless told otherwise; our indices are nvidia-smi's, in PCI order.
      CUDA_DEVICE_ORDER: "PCI_BUS_ID",
    };
  },
  stats,
};

async function fingerprint(probe: Probe, signal?: AbortSignal): Promise<Fingerprint> {
  let outcome = await query(probe, QUERY, signal);
  let elapsedMs = outcome.elapsedMs;
  if (outcome.end === "missing") return withoutTool(probe, outcome, blankFingerprint(nvidia.vendor, TOOL, elapsedMs));
  if (outcome.exitCode !== 0 && /not a valid field/i.test(outcome.stdout + outcome.stderr)) {
    outcome = await query(probe, OLD_DRIVER_QUERY, signal);
    elapsedMs += outcome.elapsedMs;
  }
  const blank = blankFingerprint(nvidia.vendor, TOOL, elapsedMs);
  if (outcome.end !== "exited") return { ...blank, state: "unknown", error: failureOf(outcome) };
  const found = parseNvidiaQuery(outcome.stdout);
  const warnings = new WarningList();
  for (const warning of found.warnings) warnings.add(warning);
  const known = { ...blank, unusable: found.faulty, ...(found.version && { version: found.version }) };
  if (found.gpus.length === 0) {
    const none = found.saysNone || /no devices were found/i.test(outcome.stderr);
    if (none && found.faulty.length === 0) return known;
    return { ...known, state: "unknown", warnings: warnings.list(), error: failureOf(outcome) };
  }
  const listed = await migDevices(probe, found, warnings, signal);
  const devices: Device[] = [];
  const unusable: UnusableDevice[] = [...found.faulty];
  for (const gpu of found.gpus) {
    const parts = listed.migs.filter((mig) => mig.parent.uuid === gpu.uuid).length;
    if (gpu.migMode !== true && parts === 0) devices.push(await deviceOf(probe, gpu, warnings));
    else unusable.push(splitGpu(gpu, parts, warnings));
  }
  devices.sort((left, right) => left.index - right.index);
  const partitions = listed.migs.map(partitionOf);
  elapsedMs += listed.elapsedMs;
  return { ...known, state: "ok", devices, partitions, unusable, warnings: warnings.list(), elapsedMs };
}

function query(probe: Probe, fields: string, signal?: AbortSignal): Promise<ProbeOutcome> {
  return probe.run([TOOL, `--query-gpu=${fields}`, "--format=csv"], signal);
}

/** No tool on the PATH: surely no GPU only if the driver made no device file either. */
async function withoutTool(probe: Probe, outcome: ProbeOutcome, blank: Fingerprint): Promise<Fingerprint> {
  const { entries, message } = await probe.list("/dev");
  const file = entries?.find(({ name, kind }) => /^nvidia\d{1,4}$/.test(name) && kind !== "directory");
  if (entries && !file) return blank;
  const reason = file ? `/dev/${file.name} exists, but ${outcome.message}` : message;
  return { ...blank, state: "unknown", error: { code: "PROBE_MISSING", message: reason } };
}

/** `-L` is asked only where a GPU may be split, since it is one more run of a tool that can hang. */
async function migDevices(
  probe: Probe,
  found: NvidiaOutput,
  warnings: WarningList,
  signal?: AbortSignal,
): Promise<{ migs: readonly NvidiaMig[]; elapsedMs: number }> {
  if (found.gpus.every((gpu) => gpu.migMode === false)) return { migs: [], elapsedMs: 0 };
  const outcome = await probe.run([TOOL, "-L"], signal);
  const listed = outcome.end === "exited" ? parseNvidiaList(outcome.stdout) : undefined;
  if (!listed) warnings.add(`MIG devices are not known: ${failureOf(outcome).message}`);
  for (const warning of listed?.warnings ?? []) warnings.add(warning);
  return { migs: listed?.migs ?? [], elapsedMs: outcome.elapsedMs };
}

async function deviceOf(probe: Probe, gpu: NvidiaGpu, warnings: WarningList): Promise<Device> {
  const numaNode = gpu.pciAddress ? await numaNodeOf(probe, gpu.pciAddress) : undefined;
  const memoryBytes = gpu.memoryBytes ?? (gpu.unifiedMemory ? await hostMemoryBytes(probe) : undefined);
  if (gpu.unifiedMemory) warnings.add(`GPU ${gpu.index} reports no memory of its own: it shares the host's`);
  return {
    uuid: gpu.uuid,
    index: gpu.index,
    resource: nvidia.resource,
    vendor: nvidia.vendor,
    model: gpu.name,
    acceleratorType: nvidiaAcceleratorType(gpu.name),
    health: gpu.fault ? "unhealthy" : "ok",
    lockName: lockNameOf(gpu.uuid),
    ...(gpu.fault && { healthReason: gpu.fault }),
    ...(memoryBytes !== undefined && { memoryBytes }),
    ...(gpu.pciAddress && { pciAddress: gpu.pciAddress }),
    ...(numaNode !== undefined && { numaNode }),
  };
}

function partitionOf({ uuid, parent, profile }: NvidiaMig): Device {
  return {
    uuid,
    index: parent.index,
    resource: nvidia.resource,
    vendor: nvidia.vendor,
    model: `${parent.name} MIG ${profile}`,
    acceleratorType: nvidiaAcceleratorType(parent.name),
    health: "ok",
    lockName: lockNameOf(uuid),
  };
}

function splitGpu(gpu: NvidiaGpu, parts: number, warnings: WarningList): UnusableDevice {
  const reason = `GPU ${gpu.index} is in MIG mode with ${parts} MIG devices: name those in CUDA_VISIBLE_DEVICES to use them`;
  warnings.add(reason);
  return { index: gpu.index, uuid: gpu.uuid, reason, ...(gpu.pciAddress && { pciAddress: gpu.pciAddress }) };
}

async function hostMemoryBytes(probe: Probe): Promise<number | undefined> {
  const kib = /^MemTotal:\s+(\d{1,12}) kB$/m.exec((await probe.read("/proc/meminfo")) ?? "")?.[1];
  return kib === undefined ? undefined : Number(kib) * 1_024;
}

/** Ray's accelerator type: `NVIDIA H100 80GB HBM3` → `H100`, `… RTX PRO 6000 …` → `RTX-PRO-6000`, else the words joined. */
export function nvidiaAcceleratorType(name: string): string {
  const product = name.replace(/^(NVIDIA|Tesla)\s+/gi, "").replace(/^Tesla\s+/i, "");
  const short = /^[A-Z]{1,3}\d{1,4}[A-Z]?(?=$|[\s-])/.exec(product)?.[0] ?? /^RTX PRO \d{4}/.exec(product)?.[0];
  return (
    (short ?? product)
      .replace(/[^A-Za-z0-9._]+/g, "-")
      .replace(/^-|-$/g, "")
      .slice(0, 63) || "NVIDIA"
  );
}

async function stats(probe: Probe, devices: readonly Device[], signal?: AbortSignal): Promise<StatsReport> {
  const outcome = await query(probe, STATS_QUERY, signal);
  const found = outcome.end === "exited" ? parseNvidiaQuery(outcome.stdout) : undefined;
  if (!found || (found.gpus.length === 0 && !found.saysNone)) return failedStats(outcome);
  const wanted = new Set(devices.map((device) => device.uuid));
  const rows = found.gpus.filter((gpu) => wanted.has(gpu.uuid)).map(statsOf);
  return { state: "ok", stats: rows, warnings: found.warnings, elapsedMs: outcome.elapsedMs };
}

function statsOf({ uuid, row, fault, memoryBytes }: NvidiaGpu): DeviceStats {
  const percent = row?.number("utilization.gpu");
  const memoryUsedBytes = row?.bytes("memory.used");
  const temperatureC = row?.number("temperature.gpu");
  const powerW = row?.number("power.draw");
  return {
    uuid,
    health: fault ? "unhealthy" : "ok",
    ...(percent !== undefined && { utilization: percent / 100 }),
    ...(memoryUsedBytes !== undefined && { memoryUsedBytes }),
    ...(memoryBytes !== undefined && { memoryTotalBytes: memoryBytes }),
    ...(temperatureC !== undefined && { temperatureC }),
    ...(powerW !== undefined && { powerW }),
  };
}
