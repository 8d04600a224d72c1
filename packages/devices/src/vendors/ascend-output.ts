import type { DeviceHealth } from "../device.ts";
import { pciAddressOf } from "../pci.ts";
import { DEVICE_LIMIT, decimalNumber, toolLines, wholeNumber } from "../tool-lines.ts";
import { quote, WarningList } from "../warning-list.ts";

/** One row of `npu-smi info -m`: which chip of which card has which device number. */
export interface NpuChip {
  readonly card: number;
  readonly chip: number;
  /** N of `/dev/davinciN`: Chip Logic ID, on Ascend 950 Chip Phy-ID. Not the NPU id. */
  readonly number: number;
  readonly name: string;
}

/** One card of `npu-smi info -l`. */
export interface NpuCard {
  readonly card: number;
  readonly chipCount?: number;
}

/** One chip of the table of `npu-smi info`. */
export interface NpuTableRow {
  readonly card: number;
  readonly chip: number;
  /** Column `Phy-ID` or `Device`, where there is one. */
  readonly number?: number;
  readonly name: string;
  readonly health: DeviceHealth;
  /** Health as printed. */
  readonly healthText: string;
  readonly pciAddress?: string;
  readonly powerW?: number;
  readonly temperatureC?: number;
  readonly utilization?: number;
  readonly memoryUsedBytes?: number;
  readonly memoryTotalBytes?: number;
}

export interface NpuOutput<Row> {
  readonly rows: readonly Row[];
  readonly version?: string;
  readonly warnings: readonly string[];
}

const MAP_COLUMN = /NPU ID|Slot ID|Chip Logic ID|Chip Phy-ID|Chip ID|Chip Name/g;
const BYTES_PER_MB = 1_048_576;

/** Reads `npu-smi info -m` in all its header forms. Management chips (`Mcu`) are no devices. Never throws. */
export function parseNpuMap(text: string): NpuOutput<NpuChip> {
  const warnings = new WarningList();
  const rows = new Map<string, NpuChip>();
  let columns: string[] | undefined;
  for (const line of toolLines(text, warnings)) {
    if (line.trim() === "") continue;
    if (!columns) {
      const unknown = line.replace(MAP_COLUMN, "").trim();
      const found: string[] = line.match(MAP_COLUMN) ?? [];
      if (found.includes("NPU ID") && found.includes("Chip ID") && unknown === "") columns = found;
      else warnings.add(`npu-smi says ${quote(line)}`);
      continue;
    }
    const chip = chipOf(columns, line, warnings);
    if (chip && [...rows.values()].some(({ number }) => number === chip.number)) {
      warnings.add(`NPU ${chip.card}-${chip.chip} has the device number ${chip.number} of another chip and is ignored`);
    } else if (chip) addOnce(rows, `${chip.card}-${chip.chip}`, chip, warnings);
  }
  return { rows: [...rows.values()], warnings: warnings.list() };
}

function chipOf(columns: readonly string[], line: string, warnings: WarningList): NpuChip | undefined {
  const words = line.trim().split(/\s+/);
  // Only the name may be of several words ("Ascend 910B3"): it takes the surplus.
  const surplus = words.length - columns.length;
  const nameAt = columns.indexOf("Chip Name");
  const cells = new Map<string, string>();
  if (surplus >= 0 && (surplus === 0 || nameAt >= 0)) {
    columns.forEach((column, at) => {
      const start = nameAt >= 0 && at > nameAt ? at + surplus : at;
      cells.set(column, words.slice(start, start + (at === nameAt ? surplus + 1 : 1)).join(" "));
    });
  }
  const name = cells.get("Chip Name") ?? "";
  if (name.toLowerCase() === "mcu") return undefined;
  const card = wholeNumber(cells.get("NPU ID"));
  const chip = wholeNumber(cells.get("Chip ID"));
  const number = wholeNumber(cells.get("Chip Logic ID") ?? cells.get("Chip Phy-ID"));
  if (card !== undefined && chip !== undefined && number !== undefined) return { card, chip, number, name };
  warnings.add(`row of npu-smi info -m ignored: ${quote(line.trim())}`);
  return undefined;
}

/** Reads `npu-smi info -l`. Never throws. */
export function parseNpuList(text: string): NpuOutput<NpuCard> {
  const warnings = new WarningList();
  const rows = new Map<string, NpuCard>();
  let total: number | undefined;
  let card: number | undefined;
  for (const line of toolLines(text, warnings)) {
    const [key, value] = line.split(":", 2).map((part) => part.trim());
    const count = wholeNumber(value);
    if (key === "Total Count") total = count;
    else if (key === "NPU ID") {
      card = count;
      if (card !== undefined) addOnce(rows, String(card), { card }, warnings);
    } else if (key === "Chip Count" && card !== undefined && count !== undefined) {
      rows.set(String(card), { card, chipCount: count });
      card = undefined;
    } else if (key !== "" && value === undefined) warnings.add(`npu-smi says ${quote(line)}`);
  }
  if (total !== rows.size) warnings.add(`npu-smi counts ${total ?? "no"} cards and lists ${rows.size}`);
  return { rows: [...rows.values()].slice(0, DEVICE_LIMIT), warnings: warnings.list() };
}

/** Header names of the two lines that describe one chip; `|` separates cells, blanks separate names in a cell. */
interface TableHeader {
  upper: string[][] | undefined;
  lower: string[][] | undefined;
}

/**
 * Reads the table of `npu-smi info`: two header lines, then two lines a chip, of four known widths. Cells are told apart by
 * `|` and the names in the header, never by column of text. The process table below is not read. Never throws.
 */
export function parseNpuTable(text: string): NpuOutput<NpuTableRow> {
  const warnings = new WarningList();
  const rows = new Map<string, NpuTableRow>();
  const header: TableHeader = { upper: undefined, lower: undefined };
  let version: string | undefined;
  let upper: Map<string, string> | undefined;
  for (const line of toolLines(text, warnings)) {
    if (!line.trim().startsWith("|")) {
      if (line.trim() !== "" && !/^\s*[+=-]/.test(line)) warnings.add(`npu-smi says ${quote(line)}`);
      continue;
    }
    version ??= /Version:\s*([\w.-]{1,64})/.exec(line)?.[1];
    const cells = line
      .trim()
      .replace(/^\||\|$/g, "")
      .split("|")
      .map(wordsOf);
    if (cells.some((cell) => cell.join(" ").startsWith("Process id"))) break;
    if (!header.upper) header.upper = cells[1]?.[0] === "Health" ? cells : undefined;
    else if (!header.lower) header.lower = cells[1]?.[0] === "Bus-Id" ? cells : undefined;
    else if (!isLowerLine(cells, upper !== undefined)) {
      if (upper) warnings.add("chip with one line only ignored");
      upper = named(header.upper, cells, line, warnings);
    } else {
      const lower = named(header.lower, cells, line, warnings);
      const row = upper && lower && tableRowOf(upper, lower, line, warnings);
      if (row) addOnce(rows, `${row.card}-${row.chip}`, row, warnings);
      else warnings.add(`chip ignored: ${quote(line)}`);
      upper = undefined;
    }
  }
  if (!header.lower) warnings.add("no table in the output of npu-smi");
  if (upper) warnings.add("chip with one line only ignored");
  return { rows: [...rows.values()], warnings: warnings.list(), ...(version && { version }) };
}

/** The second line of a chip has its bus id where the first has the health; chips without PCI print `NA`. */
function isLowerLine(cells: readonly string[][], afterUpper: boolean): boolean {
  const word = cells[1]?.[0];
  return pciAddressOf(word) !== undefined || (afterUpper && /^N\/?A$/i.test(word ?? ""));
}

/** Words of a cell; `60156/ 65536` is one. */
function wordsOf(cell: string): string[] {
  const parts = cell.split("/").map((part) => part.trim());
  return parts
    .join("/")
    .split(/\s+/)
    .filter((word) => word !== "");
}

function named(
  header: string[][],
  cells: string[][],
  line: string,
  warnings: WarningList,
): Map<string, string> | undefined {
  const values = new Map<string, string>();
  for (const [at, names] of header.entries()) {
    const words = cells[at] ?? [];
    // A product name may have several words, and is last in its cell.
    if (words.length > names.length && names.at(-1) === "Name") words.push(words.splice(names.length - 1).join(" "));
    if (cells.length !== header.length || words.length > names.length) {
      warnings.add(`line does not fit the header: ${quote(line)}`);
      return undefined;
    }
    for (const [place, name] of names.entries()) if (words[place] !== undefined) values.set(name, words[place]);
  }
  return values;
}

function tableRowOf(
  upper: ReadonlyMap<string, string>,
  lower: ReadonlyMap<string, string>,
  line: string,
  warnings: WarningList,
): NpuTableRow | undefined {
  const card = wholeNumber(upper.get("NPU"));
  const chip = wholeNumber(lower.get("Chip"));
  if (card === undefined || chip === undefined) return undefined;
  const healthText = upper.get("Health") ?? "";
  const pciAddress = pciAddressOf(lower.get("Bus-Id"));
  const number = wholeNumber(lower.get("Phy-ID") ?? lower.get("Device"));
  const powerW = decimalNumber(upper.get("Power(W)"));
  const temperatureC = decimalNumber(upper.get("Temp(C)"));
  const percent = decimalNumber(lower.get("AICore(%)"));
  const memory = memoryOf(lower.get("HBM-Usage(MB)")) ?? memoryOf(lower.get("Memory-Usage(MB)"));
  if (!memory) warnings.add(`memory of NPU ${card} is not told: ${quote(line)}`);
  return {
    card,
    chip,
    name: upper.get("Name") ?? "",
    health: healthOf(healthText),
    healthText,
    ...(number !== undefined && { number }),
    ...(pciAddress && { pciAddress }),
    ...(powerW !== undefined && { powerW }),
    ...(temperatureC !== undefined && { temperatureC }),
    ...(percent !== undefined && { utilization: percent / 100 }),
    ...(memory && { memoryUsedBytes: memory.used, memoryTotalBytes: memory.total }),
  };
}

/** `3397/65536` in MB. A total of 0 means that the chip has no memory of this kind. */
function memoryOf(cell: string | undefined): { used: number; total: number } | undefined {
  const [used, total] = (cell ?? "").split("/").map((part) => wholeNumber(part));
  return used === undefined || !total ? undefined : { used: used * BYTES_PER_MB, total: total * BYTES_PER_MB };
}

function healthOf(text: string): DeviceHealth {
  if (text === "OK") return "ok";
  return /^(warning|alarm|critical|error|fault)/i.test(text) ? "unhealthy" : "unknown";
}

function addOnce<Row>(rows: Map<string, Row>, key: string, row: Row, warnings: WarningList): void {
  if (rows.has(key)) warnings.add(`NPU ${key} is listed twice; the second is ignored`);
  else if (rows.size >= DEVICE_LIMIT) warnings.add(`devices beyond the limit of ${DEVICE_LIMIT} ignored`);
  else rows.set(key, row);
}

/** Device numbers of `/dev/davinciN`, ascending, at most 256. `davinci_manager` is no device. */
export function davinciNumbers(names: readonly string[]): number[] {
  return names
    .map((name) => /^davinci(\d{1,4})$/.exec(name)?.[1])
    .filter((digits) => digits !== undefined)
    .map(Number)
    .sort((left, right) => left - right)
    .slice(0, DEVICE_LIMIT);
}
