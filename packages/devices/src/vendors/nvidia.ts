import { type Device, lockNameOf, type UnusableDevice } from "../device.ts";
import type { Fingerprint } from "../fingerprint.ts";
import type { DeviceLink } from "../link.ts";
import { placeOf } from "../pci.ts";
import type { DevicePlugin } from "../plugin.ts";
import type { Probe, ProbeOutcome } from "../probe.ts";
import { blankFingerprint, failureOf } from "../probe-failure.ts";
import { linksBetween, type MatrixPlace, parseTopologyMatrix } from "../topology-matrix.ts";
import { isNoset, visibleEntries } from "../visibility.ts";
import { WarningList } from "../warning-list.ts";
import { nvidiaProcesses, nvidiaStats } from "./nvidia-activity.ts";
import { driverLockNames } from "./nvidia-driver.ts";
import { parseNvidiaXml } from "./nvidia-mig.ts";
import {
  type NvidiaGpu,
  type NvidiaMig,
  type NvidiaOutput,
  nvidiaTool,
  parseNvidiaList,
  parseNvidiaQuery,
} from "./nvidia-output.ts";

const TOOL = "nvidia-smi";
const OLD_DRIVER_QUERY = "index,uuid,name,memory.total,driver_version";
const QUERY = `${OLD_DRIVER_QUERY},pci.bus_id,mig.mode.current,ecc.errors.uncorrected.volatile.total`;

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
  stats: nvidiaStats,
  processes: nvidiaProcesses,
};

async function fingerprint(probe: Probe, signal?: AbortSignal): Promise<Fingerprint> {
  const found = await byTool(probe, signal);
  return found.state === "unknown" ? { ...found, lockNames: await driverLockNames(probe) } : found;
}

async function byTool(probe: Probe, signal?: AbortSignal): Promise<Fingerprint> {
  const asked = await nvidiaTool(probe, [QUERY, OLD_DRIVER_QUERY], signal);
  const { outcome } = asked;
  let { elapsedMs } = asked;
  if (outcome.end === "missing") return withoutTool(probe, outcome, blankFingerprint(nvidia.vendor, TOOL, elapsedMs));
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
  const topology = await topologyOf(probe, found.gpus, warnings, signal);
  const partitions = await Promise.all(
    listed.migs.map(async (mig): Promise<Device> => {
      const part = await partitionOf(probe, mig, found, listed.memoryBytes.get(mig.uuid));
      return { ...topology.places.get(mig.parent.uuid), ...part };
    }),
  );
  elapsedMs += listed.elapsedMs + topology.elapsedMs;
  return {
    ...{ ...known, state: "ok", partitions, unusable, links: linksOf(topology.links, devices), elapsedMs },
    warnings: warnings.list(),
    devices: devices.map((device) => ({ ...topology.places.get(device.uuid), ...device })),
  };
}

/** No tool on the PATH: surely no GPU only if the driver made no device file either. */
async function withoutTool(probe: Probe, outcome: ProbeOutcome, blank: Fingerprint): Promise<Fingerprint> {
  const { entries, message } = await probe.list("/dev");
  const file = entries?.find(({ name, kind }) => /^nvidia\d{1,4}$/.test(name) && kind !== "directory");
  if (entries && !file) return blank;
  const reason = file ? `/dev/${file.name} exists, but ${outcome.message}` : message;
  return { ...blank, state: "unknown", error: { code: "PROBE_MISSING", message: reason } };
}

/** `-L` and `-q -x` are asked only where a GPU may be split, since each is one more run of a tool that can hang. */
async function migDevices(
  probe: Probe,
  found: NvidiaOutput,
  warnings: WarningList,
  signal?: AbortSignal,
): Promise<{ migs: readonly NvidiaMig[]; memoryBytes: ReadonlyMap<string, number>; elapsedMs: number }> {
  const memoryBytes = new Map<string, number>();
  if (found.gpus.every((gpu) => gpu.migMode === false)) return { migs: [], memoryBytes, elapsedMs: 0 };
  const outcome = await probe.run([TOOL, "-L"], signal);
  const listed = outcome.end === "exited" ? parseNvidiaList(outcome.stdout) : undefined;
  if (!listed) warnings.add(`MIG devices are not known: ${failureOf(outcome).message}`);
  for (const warning of listed?.warnings ?? []) warnings.add(warning);
  const migs = listed?.migs ?? [];
  if (migs.length === 0) return { migs, memoryBytes, elapsedMs: outcome.elapsedMs };
  const details = await probe.run([TOOL, "-q", "-x"], signal);
  const { migs: places } = parseNvidiaXml(details.exitCode === 0 ? details.stdout : "", warnings);
  for (const { uuid, parent, index } of migs) {
    const bytes = places.find((place) => place.gpuUuid === parent.uuid && place.index === index)?.memoryBytes;
    if (bytes !== undefined) memoryBytes.set(uuid, bytes);
  }
  return { migs, memoryBytes, elapsedMs: outcome.elapsedMs + details.elapsedMs };
}

/** Links of two or more GPUs. Without them the GPUs are there all the same. */
async function topologyOf(
  probe: Probe,
  gpus: readonly Pick<NvidiaGpu, "index" | "uuid">[],
  warnings: WarningList,
  signal?: AbortSignal,
): Promise<{ links: readonly DeviceLink[]; places: ReadonlyMap<string, MatrixPlace>; elapsedMs: number }> {
  const places = new Map<string, MatrixPlace>();
  if (gpus.length < 2) return { links: [], places, elapsedMs: 0 };
  const { end, exitCode, stdout, message, elapsedMs } = await probe.run([TOOL, "topo", "-m"], signal);
  if (end !== "exited" || exitCode !== 0) warnings.add(`links between GPUs are not known: ${message}`);
  const matrix = exitCode === 0 ? parseTopologyMatrix(stdout, /^GPU\d{1,4}$/, warnings) : undefined;
  const names = new Map(gpus.map((gpu) => [`GPU${gpu.index}`, gpu.uuid]));
  for (const [name, place] of matrix?.places ?? []) {
    const uuid = names.get(name);
    if (uuid !== undefined) places.set(uuid, place);
  }
  return { links: linksBetween(matrix, names), places, elapsedMs };
}

/** Links between whole devices; a GPU that is split has none to offer. */
function linksOf(links: readonly DeviceLink[], devices: readonly Device[]): DeviceLink[] {
  const whole = new Set(devices.map((device) => device.uuid));
  return links.filter(({ from, to }) => whole.has(from) && whole.has(to));
}

async function deviceOf(probe: Probe, gpu: NvidiaGpu, warnings: WarningList): Promise<Device> {
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
    ...(await placeOf(probe, gpu.pciAddress)),
  };
}

/** A MIG device is as healthy as its GPU, and lies where it lies. */
async function partitionOf(
  probe: Probe,
  { uuid, parent, profile }: NvidiaMig,
  found: NvidiaOutput,
  memoryBytes?: number,
): Promise<Device> {
  const gpu = found.gpus.find((one) => one.uuid === parent.uuid);
  const fault = gpu?.fault;
  // The address is the GPU's: two MIG devices of one do not both have it for their own.
  const { numaNode, cpuAffinity } = await placeOf(probe, gpu?.pciAddress);
  return {
    uuid,
    index: parent.index,
    resource: nvidia.resource,
    vendor: nvidia.vendor,
    model: `${parent.name} MIG ${profile}`,
    acceleratorType: nvidiaAcceleratorType(parent.name),
    health: fault ? "unhealthy" : "ok",
    lockName: lockNameOf(uuid),
    ...(fault && { healthReason: fault }),
    ...(memoryBytes !== undefined && { memoryBytes }),
    ...(numaNode !== undefined && { numaNode }),
    ...(cpuAffinity !== undefined && { cpuAffinity }),
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
