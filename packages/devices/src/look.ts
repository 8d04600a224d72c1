import type { DeviceProcess } from "./device.ts";
import type { FingerprintState, ProbeFailure } from "./fingerprint.ts";
import type { DeviceLink } from "./link.ts";
import { pciAddressOf } from "./pci.ts";
import type { Probe, ProbeOutcome } from "./probe.ts";
import { failureOf } from "./probe-failure.ts";
import { DEVICE_LIMIT } from "./tool-lines.ts";
import type { ToolOutput, ToolRow } from "./tool-row.ts";

/** What one look at the machine gave. */
export interface Look extends ToolOutput {
  readonly state: FingerprintState;
  readonly elapsedMs: number;
  readonly error?: ProbeFailure;
  /** Links between rows by their index. */
  readonly links?: readonly RowLink[];
  /** Processes by the index of the row; undefined when this look does not tell. */
  readonly processes?: readonly RowProcess[];
}

export interface RowLink extends Omit<DeviceLink, "from" | "to"> {
  readonly from: number;
  readonly to: number;
}

export interface RowProcess extends Omit<DeviceProcess, "uuid"> {
  readonly index: number;
}

/** `identify`: which devices there are; `stats` and `processes`: what they do. A look may do more than it is asked. */
export type LookFor = "identify" | "stats" | "processes";

const NOTHING: ToolOutput = { rows: [], unusable: [], warnings: [] };

/** Surely no device of this vendor. */
export function noDevices(elapsedMs = 0): Look {
  return { ...NOTHING, state: "none", elapsedMs };
}

/** The tool did not answer, or not in a way that is understood. */
export function failedLook(outcome: ProbeOutcome, output: ToolOutput = NOTHING): Look {
  return { ...output, rows: [], state: "unknown", elapsedMs: outcome.elapsedMs, error: failureOf(outcome) };
}

/** A tool's answer; one without rows is a failure, since a tool that sees no device says so in words of its own. */
export function lookOf(outcome: ProbeOutcome, output: ToolOutput): Look {
  if (outcome.end !== "exited" || output.rows.length === 0) return failedLook(outcome, output);
  return { ...output, state: "ok", elapsedMs: outcome.elapsedMs };
}

/** Where the kernel shows a vendor's devices: files of a name with the device's number in it. */
export interface FilePlace {
  readonly folder: string;
  /** What stands before the number. */
  readonly before: string;
  /** What stands behind it. Default: nothing. */
  readonly behind?: string;
}

/** The device file of this number. */
export function fileOf({ folder, before, behind = "" }: FilePlace, number: number): string {
  return `${folder}/${before}${number}${behind}`;
}

/**
 * Numbers of device files, ascending; undefined when the folder cannot be read. Folders are no devices (`/dev/accel` is
 * one on many machines).
 */
export async function deviceFiles(probe: Probe, place: FilePlace): Promise<number[] | undefined> {
  const name = new RegExp(`^${RegExp.escape(place.before)}(\\d{1,4})${RegExp.escape(place.behind ?? "")}$`);
  const { entries } = await probe.list(place.folder);
  const numbers = entries
    ?.filter(({ kind }) => kind !== "directory")
    .map((entry) => name.exec(entry.name)?.[1])
    .filter((digits) => digits !== undefined)
    .map(Number);
  return numbers && [...new Set(numbers)].sort((left, right) => left - right).slice(0, DEVICE_LIMIT);
}

/** Rows of a tool that counts devices as their files are numbered. */
export function withFiles(rows: readonly ToolRow[], place: FilePlace): ToolRow[] {
  return rows.map((row) => {
    const file = row.file ?? row.index;
    return { ...row, file, files: [fileOf(place, file)] };
  });
}

/** Devices of which nothing is known but that the kernel shows their files. */
export function fileLook(numbers: readonly number[] | undefined, place: FilePlace, why: string): Look {
  if (!numbers) return unreadable(place.folder);
  if (numbers.length === 0) return noDevices();
  const rows = withFiles(
    numbers.map((index) => ({ index, name: "", untold: true })),
    place,
  );
  return { rows, unusable: [], warnings: [`devices are known by their files only: ${why}`], state: "ok", elapsedMs: 0 };
}

export function unreadable(folder: string): Look {
  return {
    ...NOTHING,
    state: "unknown",
    elapsedMs: 0,
    error: { code: "PROBE_FAILED", message: `${folder} cannot be read` },
  };
}

/**
 * Asks a tool, if it is on the PATH. If not, the device files decide: no file, no device; files without a tool are devices
 * of which no more is known. The tool's numbers are taken for those of the files.
 */
export async function toolLook(
  probe: Probe,
  argv: readonly [tool: string, ...args: string[]],
  files: FilePlace | undefined,
  parse: (stdout: string) => ToolOutput,
  signal?: AbortSignal,
): Promise<Look> {
  const outcome = await probe.run(argv, signal);
  if (outcome.end !== "missing") {
    const look = lookOf(outcome, parse(outcome.stdout));
    return files ? { ...look, rows: withFiles(look.rows, files) } : look;
  }
  if (!files) return noDevices();
  return fileLook(await deviceFiles(probe, files), files, outcome.message);
}

/** PCI address of a device that the kernel shows in a class folder such as `/sys/class/drm/card0`. */
export async function pciOfClass(probe: Probe, path: string): Promise<string | undefined> {
  const uevent = await probe.read(`${path}/device/uevent`);
  return pciAddressOf(/^PCI_SLOT_NAME=(\S{1,32})$/m.exec(uevent ?? "")?.[1]);
}

/** PCI vendor number of a device in a class folder: `0x1ae0`. */
export async function pciVendorOf(probe: Probe, path: string): Promise<string | undefined> {
  return (await probe.read(`${path}/device/vendor`))?.trim().toLowerCase();
}
