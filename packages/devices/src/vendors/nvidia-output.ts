import { type CsvRow, parseCsvTable } from "../csv-table.ts";
import type { UnusableDevice } from "../device.ts";
import { pciAddressOf } from "../pci.ts";
import type { Probe, ProbeOutcome } from "../probe.ts";
import { DEVICE_LIMIT, toolLines, wholeNumber } from "../tool-lines.ts";
import { quote, WarningList } from "../warning-list.ts";

/** One GPU as nvidia-smi describes it. Everything but identity and place may be missing. */
export interface NvidiaGpu {
  readonly uuid: string;
  readonly index: number;
  readonly name: string;
  readonly memoryBytes?: number;
  /** Memory is `[N/A]`: the GPU shares the host's. */
  readonly unifiedMemory: boolean;
  readonly pciAddress?: string;
  /** Undefined when the output does not tell. */
  readonly migMode?: boolean;
  /** Why the driver gives it up: ECC errors, `[GPU is lost]`. */
  readonly fault?: string;
  readonly row?: CsvRow;
}

export interface NvidiaMig {
  readonly uuid: string;
  readonly parent: NvidiaGpu;
  /** `1g.5gb` */
  readonly profile: string;
  /** Place on its GPU, from 0. */
  readonly index: number;
}

export interface NvidiaOutput {
  readonly gpus: readonly NvidiaGpu[];
  readonly migs: readonly NvidiaMig[];
  /** GPUs that the tool named but could not open. */
  readonly faulty: readonly UnusableDevice[];
  readonly version?: string;
  /** The tool said in words that there is no GPU. */
  readonly saysNone: boolean;
  readonly warnings: readonly string[];
}

const GPU_UUID = /^GPU-[0-9A-Za-z][0-9A-Za-z-]{3,63}$/;
const MIG_UUID = /^MIG-(GPU-[0-9A-Za-z-]{4,64}\/\d{1,4}\/\d{1,4}|[0-9A-Za-z][0-9A-Za-z-]{3,63})$/;
const GPU_LINE = /^GPU (\d{1,4}): (\S.*?) \(UUID: ?([^\s()]+)\)$/;
const MIG_LINE = /^MIG (\S+) Device (\d{1,4}): \(UUID: ?([^\s()]+)\)$/;
const FAULT_LINE = /Unable to determine the device handle for GPU ?(?:(\d{1,3}): )?([0-9A-F]{4,8}:[0-9A-F:.]+): (.*)/i;
const LOST_CELL = /unknown error|gpu is lost|requires reset|err!/i;
const TABLE_COLUMNS = ["index", "uuid", "name", "memory.total"];

/** Collects what one output says; identities are accepted once. */
class Findings {
  readonly warnings = new WarningList();
  readonly gpus: NvidiaGpu[] = [];
  readonly migs: NvidiaMig[] = [];
  readonly faulty: UnusableDevice[] = [];
  readonly #seen = new Set<string>();
  readonly #indices = new Set<number>();
  saysNone = false;

  /** Whether the identity is new and within the limit. */
  admit(uuid: string, pattern: RegExp): boolean {
    if (!pattern.test(uuid)) this.warnings.add(`${quote(uuid)} is not a device UUID`);
    else if (this.#seen.has(uuid)) this.warnings.add(`${uuid} is listed twice; the second is ignored`);
    else if (this.#seen.size >= DEVICE_LIMIT) this.warnings.add(`devices beyond the limit of ${DEVICE_LIMIT} ignored`);
    else return this.#seen.add(uuid).has(uuid);
    return false;
  }

  /** Two GPUs with one index would be one GPU in CUDA_VISIBLE_DEVICES: the second is not offered. */
  admitGpu(uuid: string, index: number): boolean {
    if (!this.admit(uuid, GPU_UUID)) return false;
    if (!this.#indices.has(index)) return this.#indices.add(index).has(index);
    this.warnings.add(`${uuid} has the index ${index} of another GPU and is ignored`);
    return false;
  }

  /** A line outside table and list: a message of the tool. */
  message(line: string): void {
    const fault = FAULT_LINE.exec(line);
    if (/^no devices were found/i.test(line.trim())) this.saysNone = true;
    else if (fault) this.fault(wholeNumber(fault[1]), pciAddressOf(fault[2]), fault[3]!);
    else if (line.trim() !== "") this.warnings.add(`nvidia-smi says ${quote(line)}`);
  }

  fault(index: number | undefined, pciAddress: string | undefined, words: string): void {
    const reason = `GPU ${index ?? pciAddress ?? "?"} is faulty: nvidia-smi says ${quote(words)}`;
    this.warnings.add(reason);
    if (this.faulty.length >= DEVICE_LIMIT) return;
    this.faulty.push({ ...(index !== undefined && { index }), ...(pciAddress && { pciAddress }), reason });
  }

  output(version?: string): NvidiaOutput {
    const { gpus, migs, faulty, saysNone } = this;
    return { gpus, migs, faulty, saysNone, warnings: this.warnings.list(), ...(version && { version }) };
  }
}

/** Reads `nvidia-smi --query-gpu=… --format=csv`. Rows without a UUID and an index make no GPU. Never throws. */
export function parseNvidiaQuery(text: string): NvidiaOutput {
  const findings = new Findings();
  const table = parseCsvTable(text, TABLE_COLUMNS, findings.warnings);
  for (const line of table.others) findings.message(line);
  if (!table.found && !findings.saysNone) findings.warnings.add("no table in the output of nvidia-smi");
  for (const row of table.rows) {
    const uuid = row.text("uuid");
    const index = wholeNumber(row.text("index"));
    if (uuid === undefined || index === undefined) {
      findings.warnings.add(`row without uuid or index ignored: ${quote(row.values().join(", "))}`);
    } else if (LOST_CELL.test(uuid)) {
      findings.fault(index, pciAddressOf(row.text("pci.bus_id")), uuid);
    } else if (findings.admitGpu(uuid, index)) {
      findings.gpus.push(gpuOf(row, uuid, index));
    }
  }
  return findings.output(table.rows.find((row) => row.text("driver_version"))?.text("driver_version"));
}

function gpuOf(row: CsvRow, uuid: string, index: number): NvidiaGpu {
  const memoryBytes = row.bytes("memory.total");
  const pciAddress = pciAddressOf(row.text("pci.bus_id"));
  const mig = row.raw("mig.mode.current");
  const lost = row.values().find((cell) => LOST_CELL.test(cell));
  const eccErrors = row.number("ecc.errors.uncorrected.volatile.total") ?? 0;
  const fault = lost
    ? `nvidia-smi says ${quote(lost)}`
    : eccErrors > 0
      ? `${eccErrors} uncorrected ECC errors`
      : undefined;
  return {
    uuid,
    index,
    name: row.text("name") ?? "NVIDIA GPU",
    unifiedMemory: !lost && row.raw("memory.total") !== undefined && row.text("memory.total") === undefined,
    row,
    ...(memoryBytes !== undefined && { memoryBytes }),
    ...(pciAddress && { pciAddress }),
    ...(mig !== undefined && { migMode: mig.toLowerCase() === "enabled" }),
    ...(fault && { fault }),
  };
}

/** Reads `nvidia-smi -L`. MIG rows are parts of the GPU above them, never GPUs. Never throws. */
export function parseNvidiaList(text: string): NvidiaOutput {
  const findings = new Findings();
  // Undefined after a GPU line that cannot be read: the MIG rows below it must not become parts of another GPU.
  let parent: NvidiaGpu | undefined;
  for (const printed of toolLines(text, findings.warnings)) {
    const line = printed.trim().replace(/\s+/g, " ");
    const gpu = GPU_LINE.exec(line);
    const mig = MIG_LINE.exec(line);
    if (gpu) {
      const [, index, name, uuid] = gpu;
      const known = findings.admitGpu(uuid!, Number(index));
      parent = known ? { uuid: uuid!, index: Number(index), name: name!, unifiedMemory: false } : undefined;
      if (parent) findings.gpus.push(parent);
    } else if (mig) {
      const [, profile, place, uuid] = mig;
      if (!parent) findings.warnings.add(`MIG row without a GPU above it ignored: ${quote(line)}`);
      else if (findings.admit(uuid!, MIG_UUID)) {
        findings.migs.push({ uuid: uuid!, parent, profile: profile!, index: Number(place) });
      }
    } else {
      if (line.startsWith("GPU")) parent = undefined;
      findings.message(line);
    }
  }
  return findings.output();
}

/**
 * Runs `nvidia-smi --query-gpu`, for a driver that does not know a field with the next shorter list.
 * @param fields at least one list.
 */
export async function nvidiaTool(
  probe: Probe,
  fields: readonly string[],
  signal?: AbortSignal,
): Promise<{ outcome: ProbeOutcome; elapsedMs: number }> {
  const [list, ...shorter] = fields;
  const outcome = await probe.run(["nvidia-smi", `--query-gpu=${list}`, "--format=csv"], signal);
  const unknownField = outcome.exitCode !== 0 && /not a valid field/i.test(outcome.stdout + outcome.stderr);
  if (!unknownField || shorter.length === 0) return { outcome, elapsedMs: outcome.elapsedMs };
  const again = await nvidiaTool(probe, shorter, signal);
  return { ...again, elapsedMs: again.elapsedMs + outcome.elapsedMs };
}
