import { byteSize } from "./byte-size.ts";
import { decimalNumber, toolLines } from "./tool-lines.ts";
import { quote, type WarningList } from "./warning-list.ts";

/** Values that mean "the device does not tell". */
const ABSENT = /^\[?(n\/a|not supported|not available|unknown|none|-|)\]?$/i;
const HEADER_CELL = /^([a-z][a-z0-9_]*(?:\.[a-z0-9_]+)*)(?:\s*\[([^\]]{1,16})\])?$/;

/** One row of a `--format=csv` table, read by the names of its header. */
export class CsvRow {
  readonly #cells: ReadonlyMap<string, { text: string; unit: string | undefined }>;

  constructor(cells: ReadonlyMap<string, { text: string; unit: string | undefined }>) {
    this.#cells = cells;
  }

  /** The cell as printed; undefined when there is no such column. */
  raw(name: string): string | undefined {
    return this.#cells.get(name)?.text;
  }

  /** The cell, or undefined when it says in one of the known ways that there is no value. */
  text(name: string): string | undefined {
    const text = this.raw(name);
    return text === undefined || ABSENT.test(text) ? undefined : text;
  }

  /** The number of a cell such as `345 MHz`, `12 %` or `345`. */
  number(name: string): number | undefined {
    return decimalNumber(this.text(name)?.split(/\s+/)[0]);
  }

  /** A memory size; the unit stands in the cell, or with `nounits` in the header. */
  bytes(name: string): number | undefined {
    const cell = this.#cells.get(name);
    return cell && byteSize(this.text(name), cell.unit);
  }

  /** Every cell as printed. */
  values(): string[] {
    return [...this.#cells.values()].map((cell) => cell.text);
  }
}

export interface CsvTable {
  /** False when no line was a header with one of the expected names. */
  readonly found: boolean;
  readonly rows: readonly CsvRow[];
  /** Lines outside the table: messages of the tool. */
  readonly others: readonly string[];
}

export interface CsvOptions {
  /** The last column is text with commas of its own, such as the name of a process. */
  readonly lastTakesRest?: boolean;
}

/**
 * Reads the table that `nvidia-smi --query-gpu=… --format=csv` and the tools modelled on it print: a header of names with
 * units in brackets, then one line per device. `expected` are header names, of which one must be there (a printed name may
 * differ from the queried one: `clocks.sm` prints `clocks.current.sm [MHz]`).
 */
export function parseCsvTable(
  text: string,
  expected: readonly string[],
  warnings: WarningList,
  { lastTakesRest = false }: CsvOptions = {},
): CsvTable {
  let header: { name: string; unit: string | undefined }[] | undefined;
  const rows: CsvRow[] = [];
  const others: string[] = [];
  for (const line of toolLines(text, warnings)) {
    if (line.trim() === "") continue;
    const cells = line.split(",").map((cell) => cell.trim());
    if (header && lastTakesRest && cells.length > header.length) {
      cells.push(cells.splice(header.length - 1).join(", "));
    }
    if (!header) {
      header = headerOf(cells, expected);
      if (!header) others.push(line.trim());
    } else if (cells.length === 1 && header.length > 1) {
      others.push(line.trim());
    } else if (cells.length !== header.length) {
      warnings.add(`row with ${cells.length} cells under ${header.length} names ignored: ${quote(line)}`);
    } else {
      rows.push(new CsvRow(new Map(header.map(({ name, unit }, at) => [name, { text: cells[at]!, unit }]))));
    }
  }
  return { found: header !== undefined, rows, others };
}

function headerOf(cells: readonly string[], expected: readonly string[]) {
  const header = cells.map((cell) => HEADER_CELL.exec(cell));
  if (!header.every((match) => match !== null)) return undefined;
  const names = header.map((match) => ({ name: match[1]!, unit: match[2] }));
  if (new Set(names.map(({ name }) => name)).size !== names.length) return undefined;
  return names.some(({ name }) => expected.includes(name)) ? names : undefined;
}
