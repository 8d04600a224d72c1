import type { Device, DeviceStats } from "../device.ts";
import type { ProcessReport, StatsReport } from "../fingerprint.ts";
import { localIdentity } from "../machine-identity.ts";
import type { Probe } from "../probe.ts";
import { failedProcesses, failedStats } from "../probe-failure.ts";
import { decimalNumber, toolLines, wholeNumber } from "../tool-lines.ts";
import { WarningList } from "../warning-list.ts";
import { type NpuTableRow, parseNpuTable } from "./ascend-output.ts";

const BYTES_PER_MB = 1_048_576;
const PROCESS_LIMIT = 4_096;

export async function ascendStats(
  probe: Probe,
  devices: readonly Device[],
  signal?: AbortSignal,
): Promise<StatsReport> {
  if (devices.length === 0) return { state: "ok", stats: [], warnings: [], elapsedMs: 0 };
  const outcome = await probe.run(["npu-smi", "info"], signal);
  const found = outcome.end === "exited" ? parseNpuTable(outcome.stdout) : undefined;
  if (!found || found.rows.length === 0) return failedStats(outcome);
  let { elapsedMs } = outcome;
  const stats: DeviceStats[] = [];
  for (const device of devices) {
    const row = found.rows.find((one) => isChip(device, one));
    if (!row) continue;
    const usage = await usageOf(probe, row, signal);
    elapsedMs += usage.elapsedMs;
    stats.push({ ...statsOf(device.uuid, row), ...usage.values });
  }
  return { state: "ok", stats, warnings: found.warnings, elapsedMs };
}

/** Also a device that was first seen when the tool was silent, and is known by its number alone. */
function isChip({ uuid }: Device, { card, chip, number }: { card: number; chip: number; number?: number }): boolean {
  const local = localIdentity(uuid);
  return local.startsWith(`NPU-${card}-${chip}-`) || (number !== undefined && local === `NPU-davinci${number}`);
}

/** Why a chip must not be granted; undefined for one that is well or of which nothing is said. */
export function npuHealthReason(row: Pick<NpuTableRow, "health" | "healthText">): string | undefined {
  return row.health === "ok" ? undefined : `npu-smi says Health ${row.healthText || "nothing"}`;
}

function statsOf(uuid: string, row: NpuTableRow): DeviceStats {
  const { health, utilization, memoryUsedBytes, memoryTotalBytes, temperatureC, powerW } = row;
  const healthReason = npuHealthReason(row);
  return {
    uuid,
    health,
    ...(healthReason && { healthReason }),
    ...(utilization !== undefined && { utilization }),
    ...(memoryUsedBytes !== undefined && { memoryUsedBytes }),
    ...(memoryTotalBytes !== undefined && { memoryTotalBytes }),
    ...(temperatureC !== undefined && { temperatureC }),
    ...(powerW !== undefined && { powerW }),
  };
}

/** Memory of a chip of which the table does not tell it (Ascend 950), which is asked for card by card. */
export async function usageOf(probe: Probe, row: NpuTableRow, signal?: AbortSignal) {
  if (row.memoryTotalBytes !== undefined) return { values: {}, elapsedMs: 0 };
  // A 950 has one chip a card and refuses to be asked for it.
  const chip = /950/.test(row.name) ? [] : ["-c", String(row.chip)];
  const outcome = await probe.run(["npu-smi", "info", "-t", "usages", "-i", String(row.card), ...chip], signal);
  return { values: outcome.exitCode === 0 ? parseNpuUsages(outcome.stdout) : {}, elapsedMs: outcome.elapsedMs };
}

/**
 * Reads `npu-smi info -t usages` and `-t common`: `key : value` lines. The block of the management chip (`mcu`) below
 * repeats keys and is not read. Never throws.
 */
export function parseNpuUsages(text: string): Omit<DeviceStats, "uuid" | "health"> {
  const told = new Map<string, number>();
  for (const line of toolLines(text, new WarningList())) {
    const [key, value] = line.split(":", 2).map((part) => part.trim());
    if (key === "Chip Name" && /^mcu$/i.test(value ?? "")) break;
    const number = decimalNumber(value);
    if (key && number !== undefined && number >= 0 && !told.has(key)) told.set(key, number);
  }
  const capacity = told.get("HBM Capacity(MB)");
  const rate = told.get("HBM Usage Rate(%)");
  const percent = told.get("Aicore Usage Rate(%)");
  const temperatureC = told.get("Temperature(C)");
  const powerW = told.get("NPU Real-time Power(W)");
  return {
    ...(capacity && { memoryTotalBytes: capacity * BYTES_PER_MB }),
    ...(capacity && rate !== undefined && { memoryUsedBytes: Math.round((capacity * BYTES_PER_MB * rate) / 100) }),
    ...(percent !== undefined && { utilization: percent / 100 }),
    ...(temperatureC !== undefined && { temperatureC }),
    ...(powerW !== undefined && { powerW }),
  };
}

export async function ascendProcesses(
  probe: Probe,
  devices: readonly Device[],
  signal?: AbortSignal,
): Promise<ProcessReport> {
  if (devices.length === 0) return { state: "ok", processes: [], warnings: [], elapsedMs: 0 };
  const outcome = await probe.run(["npu-smi", "info"], signal);
  const warnings = new WarningList();
  const rows = outcome.exitCode === 0 ? parseNpuProcesses(outcome.stdout, warnings) : undefined;
  if (!rows) return failedProcesses(outcome);
  const processes = devices.flatMap((device) =>
    rows
      .filter((row) => isChip(device, row))
      .map(({ card: _card, chip: _chip, ...process }) => ({ uuid: device.uuid, ...process })),
  );
  return { state: "ok", processes, warnings: warnings.list(), elapsedMs: outcome.elapsedMs };
}

export interface NpuProcess {
  readonly card: number;
  readonly chip: number;
  readonly pid: number;
  readonly name?: string;
  readonly memoryUsedBytes?: number;
}

/** Reads the process table below that of `npu-smi info`; undefined where there is none. Never throws. */
export function parseNpuProcesses(text: string, warnings: WarningList): NpuProcess[] | undefined {
  const processes: NpuProcess[] = [];
  let begun = false;
  for (const line of toolLines(text, warnings)) {
    if (!line.trim().startsWith("|")) continue;
    const cells = line
      .trim()
      .replace(/^\||\|$/g, "")
      .split("|");
    if (/^\s*Process id\s*$/.test(cells[1] ?? "")) begun = true;
    else if (begun && cells.length === 4 && processes.length < PROCESS_LIMIT) {
      const [card, chip] = cells[0]!.trim().split(/\s+/).map(wholeNumber);
      const pid = wholeNumber(cells[1]!.trim());
      const name = cells[2]!.trim();
      const megabytes = wholeNumber(cells[3]!.trim());
      if (card === undefined || chip === undefined || pid === undefined) continue;
      processes.push({
        ...{ card, chip, pid },
        ...(name && { name }),
        ...(megabytes !== undefined && { memoryUsedBytes: megabytes * BYTES_PER_MB }),
      });
    }
  }
  return begun ? processes : undefined;
}
