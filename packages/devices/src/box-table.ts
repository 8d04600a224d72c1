import { toolLines } from "./tool-lines.ts";
import { quote, type WarningList } from "./warning-list.ts";

/** Cells of one device by the names in the header. */
export type BoxRow = ReadonlyMap<string, string>;

const SEPARATOR = /^[\s|+]*[-=][-=+|\s]*$/;

/**
 * Reads the drawn tables of the tools modelled on nvidia-smi: `|` between cells, a header of one to three lines, as many
 * lines a device, lines of dashes between blocks. Names and values stand in the same order in their cells; two blanks
 * separate them where several share a cell. Reading ends at the next table (processes). Never throws.
 * @param key a name that begins a cell of the header's first line, such as `Card`.
 * @returns undefined when there is no such table.
 */
export function parseBoxTable(text: string, key: string, warnings: WarningList): BoxRow[] | undefined {
  const rows: BoxRow[] = [];
  let header: string[][][] | undefined;
  for (const block of blocksOf(toolLines(text, warnings))) {
    if (!header) {
      const names = block.map((line) => cellsOf(line).map(valuesOf));
      header = names[0]!.length > 1 && names[0]!.some(([name]) => name === key) ? names : undefined;
      continue;
    }
    if (cellsOf(block[0]!).length !== header[0]!.length) break;
    for (let at = 0; at < block.length; at += header.length) {
      const row = rowOf(header, block.slice(at, at + header.length), warnings);
      if (row) rows.push(row);
    }
  }
  return header && rows;
}

/** Lines between separators; blank lines separate too. */
function blocksOf(lines: readonly string[]): string[][] {
  const blocks: string[][] = [[]];
  for (const line of lines) {
    if (SEPARATOR.test(line) || line.trim() === "") blocks.push([]);
    else blocks.at(-1)!.push(line);
  }
  return blocks.filter((block) => block.length > 0);
}

function cellsOf(line: string): string[] {
  return line
    .trim()
    .replace(/^\||\|$/g, "")
    .split("|");
}

function valuesOf(cell: string): string[] {
  return cell.trim().split(/\s{2,}/);
}

function rowOf(header: string[][][], lines: readonly string[], warnings: WarningList): BoxRow | undefined {
  const row = new Map<string, string>();
  for (const [at, names] of header.entries()) {
    const cells = cellsOf(lines[at] ?? "");
    if (cells.length !== names.length) {
      warnings.add(`device ignored, its lines do not fit the header: ${quote(lines.join(" "))}`);
      return undefined;
    }
    for (const [place, cell] of cells.entries()) {
      const expected = names[place]!;
      // Where the tool left one blank only, words are tried; a value has no blank but around its slash and before its unit.
      const values = [valuesOf(cell), wordsOf(cell)].find((list) => list.length === expected.length);
      for (const [index, name] of expected.entries()) if (name && values?.[index]) row.set(name, values[index]);
      if (!values && cell.trim() !== "")
        warnings.add(`cell under ${quote(expected.join(" "))} ignored: ${quote(cell.trim())}`);
    }
  }
  return row;
}

function wordsOf(cell: string): string[] {
  return cell
    .trim()
    .replace(/ ?\/ ?/g, "/")
    .replace(/(\d) ([A-Za-z]{1,3})(?=[\s/]|$)/g, "$1$2")
    .split(/\s+/);
}

/** `858/65536 MiB`, `768MiB / 98304MiB`, `0 MiB/ 23374 MiB`, `2MiB(16384MiB)` → texts of used and total, each with its unit. */
export function usedAndTotal(cell: string | undefined): [used: string, total: string] | undefined {
  const match = /^([\d.]{1,16}) ?([KMG]?i?B)? ?[/(] ?([\d.]{1,16}) ?([KMG]?i?B)\)?$/.exec(cell?.trim() ?? "");
  return match ? [`${match[1]}${match[2] ?? match[4]}`, `${match[3]}${match[4]}`] : undefined;
}
