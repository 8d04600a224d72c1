import type { DeviceLink, LinkKind } from "./link.ts";
import { toolLines, wholeNumber } from "./tool-lines.ts";
import { quote, type WarningList } from "./warning-list.ts";

/**
 * Words of a cell. NA is an unknown relationship, ETH a way over the network, SOC an old driver's SYS; SPB and MPB are Moore
 * Threads' words for a single and for multiple PCIe bridges.
 */
const WORDS: Readonly<Record<string, LinkKind | "none">> = {
  ...{ PIX: "PIX", PXB: "PXB", PHB: "PHB", NODE: "NODE", SYS: "SYS", SOC: "SYS", NA: "none", "N/A": "none" },
  ...{ ETH: "none", SPB: "PIX", MPB: "PXB" },
  ...{ HCCS: "HCCS", HCCS_SW: "HCCS", SIO: "SIO", XGMI: "XGMI", MX: "MXLINK", METAXLINK: "MXLINK" },
};
/** Fabrics with a number of bonded lanes. */
const LANES = /^(NV|XL|MT|MX)(\d{1,3})$/;
const LANED: Readonly<Record<string, LinkKind>> = { NV: "NVLINK", XL: "XELINK", MT: "MTLINK", MX: "MXLINK" };
const TRAILER = /CPU Affinity|NUMA Affinity|Node Affinity|GPU NUMA ID/g;
const CPU_LIST = /^\d{1,5}(-\d{1,5})?(,\d{1,5}(-\d{1,5})?)*$/;

/** Where a device lies, as the matrix says. */
export interface MatrixPlace {
  readonly cpuAffinity?: string;
  readonly numaNode?: number;
}

/** A table of every device against every other. */
export interface TopologyMatrix {
  /** Row name (`GPU3`) → place. */
  readonly places: ReadonlyMap<string, MatrixPlace>;
  /** Between row names; each pair once. */
  readonly links: readonly DeviceLink[];
}

/**
 * Reads `nvidia-smi topo -m` and the tables modelled on it, separated by tabs or by blanks. Rows and columns of other things
 * (NICs) are skipped. A matrix with a word that is not known, a lost cell or two directions that differ is refused as a
 * whole: a wrong link is worse than none. Never throws.
 * @param device names of device rows, such as /^GPU\d+$/.
 */
export function parseTopologyMatrix(text: string, device: RegExp, warnings: WarningList): TopologyMatrix | undefined {
  let header: Header | undefined;
  const rows = new Map<string, readonly string[]>();
  const places = new Map<string, MatrixPlace>();
  for (const line of toolLines(text, warnings)) {
    if (/^\s*legend/i.test(line)) break;
    const words = line.trim().split(/\s+/);
    if (!header) {
      header = device.test(words[0]!) && /^\s/.test(line) ? headerOf(line, device) : undefined;
      continue;
    }
    if (!device.test(words[0]!)) continue;
    const cells = words.slice(1, header.names.length + 1);
    const damaged = cells.length < header.names.length || cells.some((cell) => cell !== "X" && !kindOf(cell));
    if (damaged || rows.has(words[0]!)) return refuse(warnings, `row ${quote(line.trim())}`);
    rows.set(words[0]!, cells);
    places.set(words[0]!, placeOf(line, header, words.slice(header.names.length + 1)));
  }
  if (!header) return refuse(warnings, "no header");
  const missing = header.names.find((name) => device.test(name) && !rows.has(name));
  if (missing || rows.size !== header.devices)
    return refuse(warnings, `rows and columns differ at ${missing ?? "the end"}`);
  const links: DeviceLink[] = [];
  for (const [from, cells] of rows) {
    for (const [at, to] of header.names.entries()) {
      if (!device.test(to)) continue;
      const cell = cells[at]!;
      const back = rows.get(to)![header.names.indexOf(from)];
      if ((cell === "X") !== (from === to) || cell !== back)
        return refuse(warnings, `${from} to ${to} is ${quote(cell)}`);
      const link = kindOf(cell);
      if (header.names.indexOf(from) < at && link && link.kind !== "none")
        links.push({ from, to, ...link, kind: link.kind });
    }
  }
  return { places, links };
}

interface Header {
  /** Columns of the matrix, NICs too. */
  readonly names: readonly string[];
  readonly devices: number;
  /** Columns behind the matrix. */
  readonly trailers: readonly string[];
}

function headerOf(line: string, device: RegExp): Header | undefined {
  const trailers: string[] = line.match(TRAILER) ?? [];
  const names = line.replace(TRAILER, "").trim().split(/\s+/);
  if (new Set(names).size !== names.length) return undefined;
  return { names, trailers, devices: names.filter((name) => device.test(name)).length };
}

function refuse(warnings: WarningList, why: string): undefined {
  warnings.add(`topology is not known, the matrix is damaged: ${why}`);
  return undefined;
}

function kindOf(word: string): { kind: LinkKind | "none"; lanes?: number } | undefined {
  const laned = LANES.exec(word);
  if (laned) return { kind: LANED[laned[1]!]!, lanes: Number(laned[2]) };
  return Object.hasOwn(WORDS, word) ? { kind: WORDS[word]! } : undefined;
}

/** With tabs an empty cell keeps its place; with blanks it does not, so the values are taken only when all are there. */
function placeOf(line: string, header: Header, words: readonly string[]): MatrixPlace {
  const cells = line.includes("\t") ? line.split("\t").slice(header.names.length + 1) : words;
  const told = line.includes("\t") || words.length >= header.trailers.length;
  const cell = (name: string) => {
    const at = header.trailers.indexOf(name);
    return told && at >= 0 ? cells[at]?.trim() : undefined;
  };
  const cpus = cell("CPU Affinity");
  const numaNode = wholeNumber(cell("NUMA Affinity") ?? cell("Node Affinity"));
  return {
    ...(cpus !== undefined && CPU_LIST.test(cpus) && { cpuAffinity: cpus }),
    ...(numaNode !== undefined && { numaNode }),
  };
}

/** The matrix' links with device identities in place of row names; links of unknown rows are dropped. */
export function linksBetween(matrix: TopologyMatrix | undefined, uuids: ReadonlyMap<string, string>): DeviceLink[] {
  return (matrix?.links ?? []).flatMap(({ from, to, ...link }) => {
    const [one, other] = [uuids.get(from), uuids.get(to)];
    return one !== undefined && other !== undefined ? [{ from: one, to: other, ...link }] : [];
  });
}
