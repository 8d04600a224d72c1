import { type BoxColumns, boxRow } from "../box-row.ts";
import { parseBoxTable } from "../box-table.ts";
import { type CsvRow, parseCsvTable } from "../csv-table.ts";
import {
  deviceFiles,
  type FilePlace,
  fileLook,
  type Look,
  lookOf,
  noDevices,
  pciVendorOf,
  withFiles,
} from "../look.ts";
import { pciAddressOf } from "../pci.ts";
import type { Probe } from "../probe.ts";
import { wholeNumber } from "../tool-lines.ts";
import { RowList, type ToolOutput } from "../tool-row.ts";
import { vendorPlugin } from "../vendor-plugin.ts";

const PCI_VENDOR = "0x1da3";
const OLD_FILES: FilePlace = { folder: "/dev", before: "hl" };
const ACCEL_FILES: FilePlace = { folder: "/dev/accel", before: "accel" };
/** The tool prints no header, so the order is ours. */
const FIELDS = [
  ...["index", "uuid", "name", "driver_version", "memory.total", "memory.used", "memory.free"],
  ...["power.draw", "power.max", "temperature.aip", "utilization.aip"],
];
const PLACED_FIELDS = [...FIELDS, "bus_id", "module_id"];

const COLUMNS: BoxColumns = {
  ...{ index: "AIP", name: "Name", place: "Bus-Id", memory: "Memory-Usage", utilization: "AIP-Util" },
  ...{ temperature: "Temp", power: "Pwr:Usage/Cap", eccErrors: "Volatile Uncorr. ECC" },
};

/** Intel Gaudi by `hl-smi`. The variable takes module numbers, which need not be in the order of the tool. */
export const gaudi = vendorPlugin({
  vendor: "gaudi",
  resource: "HPU",
  tool: "hl-smi",
  prefix: "HPU",
  variable: "HABANA_VISIBLE_MODULES",
  wholeOnly: true,
  acceleratorType: (name) => gaudiAcceleratorType(name),
  look,
});

async function look(probe: Probe, _purpose: string, signal?: AbortSignal): Promise<Look> {
  const { numbers, place } = await gaudiFiles(probe);
  if (numbers?.length === 0) return noDevices();
  const placed = await query(probe, PLACED_FIELDS, signal);
  if (placed.outcome.end === "missing") return fileLook(numbers, place, placed.outcome.message);
  if (placed.outcome.end !== "exited" || placed.output.rows.length > 0) {
    const found = lookOf(placed.outcome, placed.output);
    const numbered = found.rows.every(({ file }) => file !== undefined);
    return numbered ? { ...found, rows: withFiles(found.rows, place) } : found;
  }
  // A version that does not know a field: the table has the place on the bus, though not the module.
  const table = await probe.run(["hl-smi"], signal);
  const found = lookOf(table, parseHlTable(table.stdout));
  return { ...found, rows: withFiles(found.rows, place), elapsedMs: placed.outcome.elapsedMs + table.elapsedMs };
}

/** `/dev/hlN` of the older driver; `/dev/accel/accelN` of the newer one, which other vendors use too. */
async function gaudiFiles(probe: Probe): Promise<{ numbers: number[] | undefined; place: FilePlace }> {
  const old = await deviceFiles(probe, OLD_FILES);
  if (!old || old.length > 0) return { numbers: old, place: OLD_FILES };
  const classed = (await deviceFiles(probe, ACCEL_FILES)) ?? [];
  const vendors = await Promise.all(classed.map((number) => pciVendorOf(probe, `/sys/class/accel/accel${number}`)));
  return { numbers: classed.filter((_number, at) => vendors[at] === PCI_VENDOR), place: ACCEL_FILES };
}

async function query(probe: Probe, fields: readonly string[], signal?: AbortSignal) {
  const outcome = await probe.run(["hl-smi", "-Q", fields.join(","), "-f", "csv,noheader"], signal);
  return { outcome, output: parseHlQuery(outcome.stdout, fields) };
}

/**
 * Reads `hl-smi -Q … -f csv,noheader`. Never throws.
 * @param fields what was asked for, in this order.
 */
export function parseHlQuery(text: string, fields: readonly string[] = FIELDS): ToolOutput {
  const list = new RowList();
  const table = parseCsvTable(`${fields.join(",")}\n${text}`, ["index"], list.warnings);
  for (const row of table.rows) {
    const place = wholeNumber(row.text("index"));
    const index = wholeNumber(row.text("module_id")) ?? place;
    const pciAddress = pciAddressOf(row.text("bus_id"));
    if (index === undefined || (fields.includes("module_id") && row.text("module_id") === undefined)) continue;
    // The tool counts as the files are numbered, whatever the module.
    const file = place !== undefined && { file: place };
    list.add({ index, name: row.text("name") ?? "", ...file, ...placeOrUuid(row, pciAddress), ...valuesOf(row) });
  }
  return list.output(table.rows[0]?.text("driver_version"));
}

function placeOrUuid(row: CsvRow, pciAddress: string | undefined) {
  const uuid = row.text("uuid");
  if (pciAddress) return { pciAddress };
  return uuid && /^[\w-]{8,64}$/.test(uuid) ? { uuid: `HPU-${uuid}` } : {};
}

function valuesOf(row: CsvRow) {
  const memoryTotalBytes = row.bytes("memory.total");
  const memoryUsedBytes = row.bytes("memory.used");
  const powerW = row.number("power.draw");
  const temperatureC = row.number("temperature.aip");
  const percent = row.number("utilization.aip");
  return {
    ...(memoryTotalBytes !== undefined && { memoryTotalBytes }),
    ...(memoryUsedBytes !== undefined && { memoryUsedBytes }),
    ...(powerW !== undefined && { powerW }),
    ...(temperatureC !== undefined && { temperatureC }),
    ...(percent !== undefined && { utilization: percent / 100 }),
  };
}

/** Reads the table of `hl-smi`, whose head has two or three lines of versions. Never throws. */
export function parseHlTable(text: string): ToolOutput {
  const list = new RowList();
  for (const row of parseBoxTable(text, COLUMNS.index, list.warnings) ?? []) {
    const device = boxRow(row, COLUMNS);
    if (device) list.add(device);
  }
  list.warnings.add("module numbers are not known: those of the table stand for them");
  return list.output(/Driver Version:\s{1,64}([\w.-]{1,64})/.exec(text.slice(0, 4_096))?.[1]);
}

/** Ray's words: cards HL-2xx are Gaudi or, from HL-225 on, Gaudi 2; HL-3xx are Gaudi 3. */
export function gaudiAcceleratorType(name: string): string {
  const number = Number(/^HL-(\d{3})/.exec(name)?.[1] ?? Number.NaN);
  if (number >= 300) return "Intel-GAUDI3";
  return number >= 225 ? "Intel-GAUDI2" : "Intel-GAUDI";
}
