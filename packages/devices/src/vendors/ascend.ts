import type { Device } from "../device.ts";
import type { Fingerprint } from "../fingerprint.ts";
import type { DeviceLink } from "../link.ts";
import { machineIdentity } from "../machine-identity.ts";
import { placeOf } from "../pci.ts";
import type { DevicePlugin } from "../plugin.ts";
import type { Probe, ProbeOutcome } from "../probe.ts";
import { blankFingerprint, failureOf } from "../probe-failure.ts";
import { linksBetween, type MatrixPlace, parseTopologyMatrix } from "../topology-matrix.ts";
import { isNoset, visibleEntries } from "../visibility.ts";
import { WarningList } from "../warning-list.ts";
import { ascendProcesses, ascendStats, npuHealthReason, usageOf } from "./ascend-activity.ts";
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
  stats: ascendStats,
  processes: ascendProcesses,
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
    const devices = await devicesOf(probe, numbers, undefined, [], signal);
    return { ...blank, state: "ok", devices, warnings: warnings.list() };
  }
  const table = await probe.run([TOOL, "info"], signal);
  const { rows, version, warnings: tableWarnings } = parseNpuTable(table.stdout);
  if (table.end !== "exited") warnings.add(`health of NPUs is not known: ${table.message}`);
  else for (const warning of tableWarnings) warnings.add(warning);
  const { chips, elapsedMs } = await chipsOf(probe, numbers, map, rows, warnings, signal);
  const known = await devicesOf(probe, numbers, chips, rows, signal);
  // A tool that hung once would hang again, for as long.
  const topology = await topologyOf(probe, table.end === "exited" ? numbers : [], known, warnings, signal);
  return {
    ...{ ...blank, state: "ok", links: topology.links, warnings: warnings.list() },
    devices: known.map((device) => ({ ...topology.places.get(device.uuid), ...device })),
    elapsedMs: map.elapsedMs + table.elapsedMs + elapsedMs + topology.elapsedMs,
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
  signal?: AbortSignal,
): Promise<Device[]> {
  const devices: Device[] = [];
  for (const [index, number] of numbers.entries()) {
    const chip = chips?.get(number);
    const row = chip && rows.find(({ card, chip: place }) => card === chip.card && place === chip.chip);
    const memoryBytes = row && (row.memoryTotalBytes ?? (await usageOf(probe, row, signal)).values.memoryTotalBytes);
    const reason = row && npuHealthReason(row);
    const model = chip?.name || row?.name || "Ascend";
    devices.push({
      // The lock by the kernel's number, since that is known also when the tool is not there: one device, one lock.
      ...machineIdentity(probe, `NPU-davinci${number}`),
      ...(chip && { uuid: machineIdentity(probe, `NPU-${chip.card}-${chip.chip}-${number}`).uuid }),
      index,
      resource: ascend.resource,
      vendor: ascend.vendor,
      model,
      acceleratorType: ascendAcceleratorType(model),
      health: row?.health ?? "unknown",
      ...(reason && { healthReason: reason }),
      ...(memoryBytes !== undefined && { memoryBytes }),
      ...(await placeOf(probe, row?.pciAddress)),
    });
  }
  return devices;
}

/** Links of two or more NPUs. Without them the NPUs are there all the same; older tools do not know the question. */
async function topologyOf(
  probe: Probe,
  numbers: readonly number[],
  devices: readonly Device[],
  warnings: WarningList,
  signal?: AbortSignal,
): Promise<{ links: readonly DeviceLink[]; places: ReadonlyMap<string, MatrixPlace>; elapsedMs: number }> {
  const places = new Map<string, MatrixPlace>();
  if (numbers.length < 2) return { links: [], places, elapsedMs: 0 };
  const { exitCode, stdout, message, elapsedMs } = await probe.run([TOOL, "info", "-t", "topo"], signal);
  if (exitCode !== 0) warnings.add(`links between NPUs are not known: ${message}`);
  const matrix = exitCode === 0 ? parseTopologyMatrix(stdout, /^(NPU|Phy-ID)\d{1,4}$/, warnings) : undefined;
  const names = new Map<string, string>(
    numbers.flatMap((number, index) =>
      ["NPU", "Phy-ID"].map((word) => [`${word}${number}`, devices[index]!.uuid] as const),
    ),
  );
  for (const [name, place] of matrix?.places ?? []) {
    const uuid = names.get(name);
    if (uuid !== undefined) places.set(uuid, place);
  }
  return { links: linksBetween(matrix, names), places, elapsedMs };
}

/** Name as CANN's `get_soc_name` writes it: `Ascend 910B3` and `910B3` → `Ascend910B3`. */
export function ascendAcceleratorType(name: string): string {
  const compact = name.replace(/[^A-Za-z0-9._-]+/g, "").slice(0, 57);
  return /^\d/.test(compact) ? `Ascend${compact}` : compact || "Ascend";
}
