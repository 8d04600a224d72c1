import { typeOfName } from "../accelerator-type.ts";
import { elements, members, parseJsonOutput, textOf } from "../json-output.ts";
import {
  deviceFiles,
  type FilePlace,
  failedLook,
  type Look,
  lookOf,
  noDevices,
  type RowLink,
  type RowProcess,
} from "../look.ts";
import { pciAddressOf } from "../pci.ts";
import type { Environment, Probe } from "../probe.ts";
import { DEVICE_LIMIT, wholeNumber } from "../tool-lines.ts";
import { RowList, type ToolOutput } from "../tool-row.ts";
import { vendorPlugin } from "../vendor-plugin.ts";

const FILES: FilePlace = { folder: "/dev", before: "neuron" };
/** Where AWS installs it, often without putting it on the PATH. */
const INSTALLED = "/opt/aws/neuron/bin/neuron-ls";

/** AWS Trainium and Inferentia by `neuron-ls`. What is counted and granted is a core, not a chip, as in Ray. */
export const neuron = vendorPlugin({
  vendor: "neuron",
  resource: "neuron_cores",
  tool: "neuron-ls",
  prefix: "NEURON",
  variable: "NEURON_RT_VISIBLE_CORES",
  wholeOnly: true,
  acceleratorType: (name) => typeOfName(name, "aws-neuron-core"),
  tellsProcesses: true,
  look,
  /** The runtime takes ranges: `0-3,8`. */
  ownList(environment: Environment) {
    return environment["NEURON_RT_VISIBLE_CORES"]?.replace(/\b(\d{1,4})-(\d{1,4})\b/g, (range, first, last) => {
      const count = Number(last) - Number(first) + 1;
      if (count < 1 || count > DEVICE_LIMIT) return range;
      return Array.from({ length: count }, (_, at) => Number(first) + at).join(",");
    });
  },
});

async function look(probe: Probe, _purpose: string, signal?: AbortSignal): Promise<Look> {
  const numbers = await deviceFiles(probe, FILES);
  if (numbers?.length === 0) return noDevices();
  const named = await probe.run(["neuron-ls", "--json-output"], signal);
  const outcome = named.end === "missing" ? await probe.run([INSTALLED, "--json-output"], signal) : named;
  if (outcome.end === "missing" && numbers) return (await sysfsLook(probe, numbers)) ?? failedLook(outcome);
  const output = parseNeuronLs(outcome.stdout);
  return { ...lookOf(outcome, output), links: output.links, processes: output.processes };
}

/** Cores as the driver counts them; undefined when it does not tell, since a chip without its cores cannot be offered. */
async function sysfsLook(probe: Probe, numbers: readonly number[]): Promise<Look | undefined> {
  const list = new RowList();
  const chips = new Map<number, Chip>();
  for (const number of numbers) {
    const folder = `/sys/devices/virtual/neuron_device/neuron${number}`;
    const cores = wholeNumber((await probe.read(`${folder}/core_count`))?.trim());
    if (!cores || cores > DEVICE_LIMIT) return undefined;
    const connected = (await probe.read(`${folder}/connected_devices`)) ?? "";
    const to = connected.split(/[\s,]+/).map(wholeNumber);
    const ids = Array.from({ length: cores }, (_, core) => number * cores + core);
    chips.set(number, { ids, to: to.filter((other) => other !== undefined) });
    for (const [part, index] of ids.entries()) list.add({ index, name: "", part, untold: true });
  }
  list.warnings.add("cores are known from sysfs only: neuron-ls is not on the PATH");
  return { ...list.output(), state: "ok", elapsedMs: 0, links: linksOf(chips) };
}

/** Numbers of a chip's cores, and the chips that it is connected to. */
interface Chip {
  readonly ids: readonly number[];
  readonly to: readonly number[];
}

/** Reads `neuron-ls --json-output`: an object a chip, with the numbers of its cores. Never throws. */
export function parseNeuronLs(text: string): ToolOutput & {
  readonly links: readonly RowLink[];
  readonly processes: readonly RowProcess[];
} {
  const list = new RowList();
  const processes: RowProcess[] = [];
  const chips = new Map<number, Chip>();
  const taken = new Set<number>();
  for (const chip of elements(parseJsonOutput(text, list.warnings))) {
    const number = wholeNumber(textOf(chip, "neuron_device"));
    const ids = coresOf(chip, number ?? 0);
    if (number === undefined || chips.has(number) || ids.length === 0 || ids.some((id) => taken.has(id))) {
      list.warnings.add(`chip ${number ?? "?"} ignored: it has no cores, or those of another`);
      continue;
    }
    if (taken.size + ids.length > DEVICE_LIMIT) {
      list.warnings.add(`devices beyond the limit of ${DEVICE_LIMIT} ignored`);
      break;
    }
    for (const id of ids) taken.add(id);
    chips.set(number, { ids, to: numbersOf(member(chip, "connected_to")) });
    for (const [part, index] of ids.entries()) list.add({ index, name: "", part, ...placeOfChip(chip, ids.length) });
    processes.push(...processesOf(chip, ids));
  }
  return { ...list.output(), links: linksOf(chips), processes };
}

/** `neuroncore_ids`; old tools count only, and number the cores through over the chips. */
function coresOf(chip: unknown, number: number): number[] {
  const count = wholeNumber(textOf(chip, "nc_count")) ?? 0;
  const ids = numbersOf(member(chip, "neuroncore_ids"));
  if (ids.length > 0) return ids.length === count && new Set(ids).size === count ? ids : [];
  return count > DEVICE_LIMIT ? [] : Array.from({ length: count }, (_, core) => number * count + core);
}

function placeOfChip(chip: unknown, cores: number) {
  const pciAddress = pciAddressOf(withDomain(textOf(chip, "bdf")));
  const bytes = textOf(chip, "memory_size");
  // Both are texts, and the node is −1 where the kernel knows none.
  const numaNode = wholeNumber(textOf(chip, "numa_node"));
  const cpuAffinity = textOf(chip, "cpu_affinity");
  return {
    ...(pciAddress && { pciAddress }),
    ...(bytes && /^\d{1,15}$/.test(bytes) && { memoryTotalBytes: Math.floor(Number(bytes) / cores) }),
    ...(numaNode !== undefined && { numaNode }),
    ...(cpuAffinity && /^[\d,-]{1,256}$/.test(cpuAffinity) && { cpuAffinity }),
  };
}

/** Cores of one chip, and of two that are connected; each pair once. */
function linksOf(chips: ReadonlyMap<number, Chip>): RowLink[] {
  const links: RowLink[] = [];
  for (const [number, { ids, to }] of chips) {
    for (const [at, from] of ids.entries()) {
      for (const other of ids.slice(at + 1)) links.push({ from, to: other, kind: "CHIP" });
      for (const higher of new Set(to)) {
        if (higher <= number) continue;
        for (const other of chips.get(higher)?.ids ?? []) links.push({ from, to: other, kind: "NEURONLINK" });
      }
    }
  }
  return links;
}

function processesOf(chip: unknown, ids: readonly number[]): RowProcess[] {
  return elements(member(chip, "neuron_processes")).flatMap((process) => {
    const pid = wholeNumber(textOf(process, "pid"));
    const name = textOf(process, "command")?.slice(0, 256);
    const told = numbersOf(member(process, "neuroncore_ids"));
    const mine = told.length > 0 ? told : ids;
    return pid === undefined ? [] : mine.map((index) => ({ index, pid, ...(name && { name }) }));
  });
}

function member(value: unknown, name: string): unknown {
  return members(value).find(([key]) => key === name)?.[1];
}

/** Whole numbers of a list, as far as it has some. */
function numbersOf(value: unknown): number[] {
  return elements(value)
    .slice(0, DEVICE_LIMIT)
    .map((element) => wholeNumber(String(element)))
    .filter((number) => number !== undefined);
}

/** Older tools leave the domain out: `00:1e.0`. */
function withDomain(bdf: string | undefined): string | undefined {
  return bdf !== undefined && /^[^:]{2}:[^:]+$/.test(bdf) ? `0000:${bdf}` : bdf;
}
