import { type Device, type DeviceStats, lockNameOf } from "../device.ts";
import type { Fingerprint, StatsReport } from "../fingerprint.ts";
import { numaNodeOf } from "../pci.ts";
import type { DevicePlugin } from "../plugin.ts";
import type { Probe, ProbeOutcome } from "../probe.ts";
import { blankFingerprint, failedStats, failureOf } from "../probe-failure.ts";
import { isNoset, visibleEntries } from "../visibility.ts";
import { WarningList } from "../warning-list.ts";
import { davinciNumbers, type NpuTableRow, parseNpuList, parseNpuMap, parseNpuTable } from "./ascend-output.ts";

const TOOL = "npu-smi";

/** Card, chip and product behind a device file. */
interface Chip {
  readonly card: number;
  readonly chip: number;
  readonly name: string;
}

/**
 * Huawei Ascend NPUs. `/dev/davinciN` decides which devices there are and how the runtime counts them, also inside a
 * container; `npu-smi` tells what they are. An index is the place among the device files: CANN takes only 0 to n − 1.
 */
export const ascend: DevicePlugin = {
  vendor: "ascend",
  resource: "NPU",
  visibilityVariable: "ASCEND_RT_VISIBLE_DEVICES",
  reservedVariables: ["ASCEND_RT_VISIBLE_DEVICES"],
  // Ray, verl, OpenRLHF and slime know the first name, AReaL the second.
  nosetVariables: ["RAY_EXPERIMENTAL_NOSET_ASCEND_RT_VISIBLE_DEVICES", "RAY_EXPERIMENTAL_NOSET_NPU_VISIBLE_DEVICES"],
  noDeviceWords: ["-1", "NoDevFiles"],
  fingerprint,
  names: (entry, device) => /^\d{1,9}$/.test(entry) && Number(entry) === device.index,
  visibility(request) {
    if (isNoset(ascend, request)) return {};
    const entries = visibleEntries(ascend, request, (device) => String(device.index));
    // With a list that does not ascend, torch_npu finds no device at all.
    entries.sort((left, right) => Number(left) - Number(right));
    return { ASCEND_RT_VISIBLE_DEVICES: entries.join(",") };
  },
  stats,
};

async function fingerprint(probe: Probe, signal?: AbortSignal): Promise<Fingerprint> {
  const { entries, message } = await probe.list("/dev");
  if (!entries) {
    const error = { code: "PROBE_FAILED", message };
    return { ...blankFingerprint(ascend.vendor, TOOL, 0), state: "unknown", error };
  }
  const numbers = davinciNumbers(entries.filter(({ kind }) => kind !== "directory").map(({ name }) => name));
  // Without a device file no process can open an NPU, whatever the tool would list.
  if (numbers.length === 0) return blankFingerprint(ascend.vendor, TOOL, 0);
  const map = await probe.run([TOOL, "info", "-m"], signal);
  const blank = blankFingerprint(ascend.vendor, TOOL, map.elapsedMs);
  if (map.end !== "exited" && map.end !== "missing") return { ...blank, state: "unknown", error: failureOf(map) };
  const warnings = new WarningList();
  if (map.end === "missing") {
    warnings.add(`NPUs are known by their device files only: ${map.message}`);
    const devices = await devicesOf(probe, numbers, undefined, []);
    return { ...blank, state: "ok", devices, warnings: warnings.list() };
  }
  const table = await probe.run([TOOL, "info"], signal);
  const { rows, version, warnings: tableWarnings } = parseNpuTable(table.stdout);
  if (table.end !== "exited") warnings.add(`health of NPUs is not known: ${table.message}`);
  else for (const warning of tableWarnings) warnings.add(warning);
  const { chips, elapsedMs } = await chipsOf(probe, numbers, map, rows, warnings, signal);
  const devices = await devicesOf(probe, numbers, chips, rows);
  return {
    ...blank,
    state: "ok",
    devices,
    warnings: warnings.list(),
    elapsedMs: map.elapsedMs + table.elapsedMs + elapsedMs,
    ...(version && { version }),
  };
}

/** Which chip is behind each device file: by `info -m`, else by the table, else by the list of cards. */
async function chipsOf(
  probe: Probe,
  numbers: readonly number[],
  map: ProbeOutcome,
  rows: readonly NpuTableRow[],
  warnings: WarningList,
  signal?: AbortSignal,
): Promise<{ chips: ReadonlyMap<number, Chip> | undefined; elapsedMs: number }> {
  const mapped = parseNpuMap(map.stdout);
  for (const warning of mapped.warnings) warnings.add(warning);
  const known = mapped.rows.length > 0 ? mapped.rows : rows;
  const chips = matchChips(numbers, known);
  if (chips) return { chips, elapsedMs: 0 };
  if (known.length > 0) {
    const said = `npu-smi lists ${known.length} chips, /dev has ${numbers.map((number) => `davinci${number}`).join(" ")}`;
    warnings.add(`${said}: chips cannot be told apart`);
    return { chips: undefined, elapsedMs: 0 };
  }
  const list = await probe.run([TOOL, "info", "-l"], signal);
  const { rows: cards } = parseNpuList(list.end === "exited" ? list.stdout : "");
  const counted = cards.flatMap(({ card, chipCount }) =>
    Array.from({ length: Math.min(chipCount ?? 1, numbers.length) }, (_, chip) => ({ card, chip, name: "" })),
  );
  return { chips: matchChips(numbers, counted), elapsedMs: list.elapsedMs };
}

/**
 * Chips by device file: by number where every file's number is listed; in order of card and chip where only the counts are
 * equal, as in a container that numbers its chips anew. Undefined when neither holds: better no chip than a wrong one.
 */
function matchChips(
  numbers: readonly number[],
  chips: readonly (Chip & { readonly number?: number })[],
): ReadonlyMap<number, Chip> | undefined {
  const byNumber = new Map(chips.filter(({ number }) => number !== undefined).map((chip) => [chip.number!, chip]));
  if (numbers.every((number) => byNumber.has(number))) return byNumber;
  if (chips.length !== numbers.length) return undefined;
  const inOrder = [...chips].sort((left, right) => left.card - right.card || left.chip - right.chip);
  return new Map(numbers.map((number, at) => [number, inOrder[at]!]));
}

async function devicesOf(
  probe: Probe,
  numbers: readonly number[],
  chips: ReadonlyMap<number, Chip> | undefined,
  rows: readonly NpuTableRow[],
): Promise<Device[]> {
  const devices: Device[] = [];
  for (const [index, number] of numbers.entries()) {
    const chip = chips?.get(number);
    const row = chip && rows.find(({ card, chip: place }) => card === chip.card && place === chip.chip);
    const numaNode = row?.pciAddress ? await numaNodeOf(probe, row.pciAddress) : undefined;
    const model = chip?.name || row?.name || "Ascend";
    devices.push({
      uuid: chip ? `NPU-${chip.card}-${chip.chip}-${number}` : `NPU-davinci${number}`,
      index,
      resource: ascend.resource,
      vendor: ascend.vendor,
      model,
      acceleratorType: ascendAcceleratorType(model),
      health: row?.health ?? "unknown",
      // The kernel's number, since it is known also when the tool is not there: one device, one lock.
      lockName: lockNameOf(`NPU-davinci${number}`),
      ...(row && row.health !== "ok" && { healthReason: `npu-smi says Health ${row.healthText || "nothing"}` }),
      ...(row?.memoryTotalBytes !== undefined && { memoryBytes: row.memoryTotalBytes }),
      ...(row?.pciAddress && { pciAddress: row.pciAddress }),
      ...(numaNode !== undefined && { numaNode }),
    });
  }
  return devices;
}

/** Name as CANN's `get_soc_name` writes it: `Ascend 910B3` and `910B3` → `Ascend910B3`. */
export function ascendAcceleratorType(name: string): string {
  const compact = name.replace(/[^A-Za-z0-9._-]+/g, "").slice(0, 57);
  return /^\d/.test(compact) ? `Ascend${compact}` : compact || "Ascend";
}

async function stats(probe: Probe, devices: readonly Device[], signal?: AbortSignal): Promise<StatsReport> {
  const outcome = await probe.run([TOOL, "info"], signal);
  const found = outcome.end === "exited" ? parseNpuTable(outcome.stdout) : undefined;
  if (!found || found.rows.length === 0) return failedStats(outcome);
  const rows = devices.flatMap((device) => {
    const row = found.rows.find(({ card, chip }) => device.uuid.startsWith(`NPU-${card}-${chip}-`));
    return row ? [statsOf(device.uuid, row)] : [];
  });
  return { state: "ok", stats: rows, warnings: found.warnings, elapsedMs: outcome.elapsedMs };
}

function statsOf(uuid: string, row: NpuTableRow): DeviceStats {
  const { health, utilization, memoryUsedBytes, memoryTotalBytes, temperatureC, powerW } = row;
  return {
    uuid,
    health,
    ...(utilization !== undefined && { utilization }),
    ...(memoryUsedBytes !== undefined && { memoryUsedBytes }),
    ...(memoryTotalBytes !== undefined && { memoryTotalBytes }),
    ...(temperatureC !== undefined && { temperatureC }),
    ...(powerW !== undefined && { powerW }),
  };
}
