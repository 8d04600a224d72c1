import { parseCsvTable } from "../csv-table.ts";
import type { Device, DeviceProcess, DeviceStats } from "../device.ts";
import type { ProcessReport, StatsReport } from "../fingerprint.ts";
import type { Probe } from "../probe.ts";
import { failedProcesses, failedStats } from "../probe-failure.ts";
import { wholeNumber } from "../tool-lines.ts";
import { WarningList } from "../warning-list.ts";
import { type MigPlace, type MigProcess, parseNvidiaXml, parseXids } from "./nvidia-mig.ts";
import { type NvidiaGpu, type NvidiaOutput, nvidiaTool, parseNvidiaList, parseNvidiaQuery } from "./nvidia-output.ts";

const QUERY = "index,uuid,utilization.gpu,memory.used,memory.total,temperature.gpu,power.draw,pci.bus_id";
const STATS_FIELDS = [`${QUERY},ecc.errors.uncorrected.volatile.total`, QUERY];
const PROCESS_FIELDS = "gpu_uuid,pid,used_memory,process_name";

export async function nvidiaStats(
  probe: Probe,
  devices: readonly Device[],
  signal?: AbortSignal,
): Promise<StatsReport> {
  if (devices.length === 0) return { state: "ok", stats: [], warnings: [], elapsedMs: 0 };
  const { outcome, elapsedMs } = await nvidiaTool(probe, STATS_FIELDS, signal);
  const found = outcome.end === "exited" ? parseNvidiaQuery(outcome.stdout) : undefined;
  if (!found || (found.gpus.length + found.faulty.length === 0 && !found.saysNone)) return failedStats(outcome);
  const warnings = new WarningList();
  for (const warning of found.warnings) warnings.add(warning);
  const log = await probe.run(["dmesg"], signal);
  // A kernel that lets only root read its log says so by the exit code: then nothing is known of Xids.
  const xids = log.exitCode === 0 || log.end === "flooded" ? parseXids(log.stdout, warnings) : undefined;
  const stats = devices.flatMap((device) => statsOf(device, found, xids) ?? []);
  const parts = await partitions(probe, devices, warnings, signal);
  for (const [uuid, { memoryBytes, memoryUsedBytes, eccErrors = 0 }] of parts.places) {
    stats.push({
      ...{ uuid, health: eccErrors > 0 ? "unhealthy" : "ok", eccErrors },
      ...(eccErrors > 0 && { healthReason: `${eccErrors} uncorrected ECC errors` }),
      ...(memoryBytes !== undefined && { memoryTotalBytes: memoryBytes }),
      ...(memoryUsedBytes !== undefined && { memoryUsedBytes }),
    });
  }
  const spentMs = elapsedMs + log.elapsedMs + parts.elapsedMs;
  return { state: "ok", stats, warnings: warnings.list(), elapsedMs: spentMs };
}

function statsOf(device: Device, found: NvidiaOutput, xidsOf: ReturnType<typeof parseXids> | undefined) {
  const { uuid, pciAddress } = device;
  const gpu = found.gpus.find((one) => one.uuid === uuid);
  const fault = found.faulty.find((one) => one.pciAddress !== undefined && one.pciAddress === pciAddress);
  if (!gpu && !fault) return undefined;
  const xids = pciAddress === undefined ? undefined : xidsOf?.get(pciAddress.slice(0, -2));
  const numbers = xids && `Xid ${xids.join(", ")} in the kernel's log`;
  const healthReason = fault?.reason ?? gpu?.fault ?? numbers;
  const values: Omit<DeviceStats, "uuid" | "health"> = gpu ? valuesOf(gpu) : {};
  return {
    ...{ uuid, health: healthReason ? ("unhealthy" as const) : ("ok" as const) },
    ...(healthReason && { healthReason }),
    ...values,
    ...(xids && { xids }),
  };
}

function valuesOf({ row, memoryBytes }: NvidiaGpu): Omit<DeviceStats, "uuid" | "health"> {
  const percent = row?.number("utilization.gpu");
  const memoryUsedBytes = row?.bytes("memory.used");
  const temperatureC = row?.number("temperature.gpu");
  const powerW = row?.number("power.draw");
  const eccErrors = row?.number("ecc.errors.uncorrected.volatile.total");
  return {
    ...(percent !== undefined && { utilization: percent / 100 }),
    ...(memoryUsedBytes !== undefined && { memoryUsedBytes }),
    ...(memoryBytes !== undefined && { memoryTotalBytes: memoryBytes }),
    ...(temperatureC !== undefined && { temperatureC }),
    ...(powerW !== undefined && { powerW }),
    ...(eccErrors !== undefined && { eccErrors }),
  };
}

export async function nvidiaProcesses(
  probe: Probe,
  devices: readonly Device[],
  signal?: AbortSignal,
): Promise<ProcessReport> {
  if (devices.length === 0) return { state: "ok", processes: [], warnings: [], elapsedMs: 0 };
  const argv = ["nvidia-smi", `--query-compute-apps=${PROCESS_FIELDS}`, "--format=csv"] as const;
  const outcome = await probe.run(argv, signal);
  const warnings = new WarningList();
  const rows = outcome.exitCode === 0 ? parseNvidiaProcesses(outcome.stdout, warnings) : undefined;
  if (!rows) return failedProcesses(outcome);
  const wanted = new Set(devices.map((device) => device.uuid));
  const processes = rows.filter((process) => wanted.has(process.uuid));
  const parts = await partitions(probe, devices, warnings, signal);
  for (const { gpuUuid, gpuInstance, computeInstance, ...process } of parts.processes) {
    for (const [uuid, place] of parts.places) {
      if (place.gpuUuid !== gpuUuid || (gpuInstance !== undefined && place.gpuInstance !== gpuInstance)) continue;
      if (computeInstance !== undefined && place.computeInstance !== computeInstance) continue;
      processes.push({ uuid, ...process });
    }
  }
  return { state: "ok", processes, warnings: warnings.list(), elapsedMs: outcome.elapsedMs + parts.elapsedMs };
}

/** Reads `nvidia-smi --query-compute-apps=…`; undefined when there is no table. Never throws. */
export function parseNvidiaProcesses(text: string, warnings: WarningList): DeviceProcess[] | undefined {
  const table = parseCsvTable(text, ["gpu_uuid"], warnings, { lastTakesRest: true });
  if (!table.found) return undefined;
  return table.rows.flatMap((row) => {
    const uuid = row.text("gpu_uuid");
    const pid = wholeNumber(row.text("pid"));
    if (uuid === undefined || pid === undefined) return [];
    const name = row.text("process_name");
    // Queried as `used_memory`, printed as `used_gpu_memory`.
    const memoryUsedBytes = row.bytes("used_gpu_memory") ?? row.bytes("used_memory");
    return [{ uuid, pid, ...(name && { name }), ...(memoryUsedBytes !== undefined && { memoryUsedBytes }) }];
  });
}

interface Partitions {
  /** By the UUID of the MIG device. */
  readonly places: ReadonlyMap<string, MigPlace>;
  readonly processes: readonly MigProcess[];
  readonly elapsedMs: number;
}

/** MIG devices among `devices`: `-L` knows their UUIDs, `-q -x` all else; their place on the GPU joins the two. */
async function partitions(
  probe: Probe,
  devices: readonly Device[],
  warnings: WarningList,
  signal?: AbortSignal,
): Promise<Partitions> {
  const wanted = new Set(devices.map((device) => device.uuid).filter((uuid) => uuid.startsWith("MIG-")));
  if (wanted.size === 0) return { places: new Map(), processes: [], elapsedMs: 0 };
  const list = await probe.run(["nvidia-smi", "-L"], signal);
  const details = await probe.run(["nvidia-smi", "-q", "-x"], signal);
  if (details.exitCode !== 0) warnings.add(`MIG devices are not told apart: ${details.message}`);
  const { migs, processes } = parseNvidiaXml(details.exitCode === 0 ? details.stdout : "", warnings);
  const places = new Map<string, MigPlace>();
  for (const { uuid, parent, index } of parseNvidiaList(list.stdout).migs) {
    const place = migs.find((mig) => mig.gpuUuid === parent.uuid && mig.index === index);
    if (wanted.has(uuid) && place) places.set(uuid, place);
  }
  return { places, processes, elapsedMs: list.elapsedMs + details.elapsedMs };
}
