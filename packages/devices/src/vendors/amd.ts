import { WhiprayError } from "@whipray/core";
import { typeOfName } from "../accelerator-type.ts";
import { drmCards } from "../drm-cards.ts";
import { hwmonFigures } from "../hwmon.ts";
import { elements, parseJsonOutput, textOf } from "../json-output.ts";
import {
  failedLook,
  type Look,
  type LookFor,
  lookOf,
  noDevices,
  type RowLink,
  type RowProcess,
  unreadable,
} from "../look.ts";
import { pciAddressOf } from "../pci.ts";
import type { Environment, Probe } from "../probe.ts";
import { toolLines, wholeNumber } from "../tool-lines.ts";
import { RowList, type ToolOutput, type ToolRow } from "../tool-row.ts";
import { vendorPlugin } from "../vendor-plugin.ts";
import { quote, WarningList } from "../warning-list.ts";
import { kfdProcesses } from "./kfd.ts";
import { parseRocmSmi, ROCM_ARGUMENTS, type RocmMaker, rocmLinkKind } from "./rocm-output.ts";

const PCI_VENDOR = "0x1002";
export const AMD: RocmMaker = { name: /AMD|Advanced Micro/i, use: /^GPU use/ };

/** AMD GPUs by `rocm-smi`, else `amd-smi`, else sysfs. Without `/dev/kfd` no process can compute on one. */
export const amd = vendorPlugin({
  vendor: "amd",
  resource: "GPU",
  tool: "rocm-smi",
  prefix: "AMD",
  variable: "HIP_VISIBLE_DEVICES",
  reserved: ["ROCR_VISIBLE_DEVICES"],
  noset: ["RAY_EXPERIMENTAL_NOSET_ROCR_VISIBLE_DEVICES"],
  acceleratorType: (name) => amdAcceleratorType(name),
  tellsProcesses: true,
  look,
  // The HIP runtime reads an empty list as no list; only the layer below it takes an empty one as "none".
  also: (entries): Record<string, string> => (entries.length === 0 ? { ROCR_VISIBLE_DEVICES: "" } : {}),
  checkNode(environment: Environment) {
    const value = environment["ROCR_VISIBLE_DEVICES"];
    if (value === undefined || environment["HIP_VISIBLE_DEVICES"] !== undefined) return;
    throw new WhiprayError({
      code: "INVALID_VISIBLE_DEVICES",
      message: `ROCR_VISIBLE_DEVICES=${quote(value)} of this node hides GPUs below HIP and renumbers them. Use HIP_VISIBLE_DEVICES instead and start again.`,
      details: { variable: "ROCR_VISIBLE_DEVICES", value: value.slice(0, 1_000) },
    });
  },
});

async function look(probe: Probe, purpose: LookFor, signal?: AbortSignal): Promise<Look> {
  const { entries } = await probe.list("/dev");
  if (!entries) return unreadable("/dev");
  if (!entries.some(({ name }) => name === "kfd")) return noDevices();
  const found = await devicesOf(probe, signal);
  if (purpose !== "processes" || found.state !== "ok") return found;
  const processes = (await kfdProcesses(probe)).flatMap(({ pciAddress, ...process }): RowProcess[] => {
    const row = found.rows.find((one) => one.pciAddress === pciAddress);
    return row ? [{ index: row.index, ...process }] : [];
  });
  return { ...found, processes };
}

async function devicesOf(probe: Probe, signal?: AbortSignal): Promise<Look> {
  const rocm = await probe.run(["rocm-smi", ...ROCM_ARGUMENTS, "--showbus", "--showtopo"], signal);
  if (rocm.end !== "missing") {
    const output = parseRocmSmi(rocm.stdout, AMD);
    return { ...lookOf(rocm, output), links: output.links };
  }
  const listed = await probe.run(["amd-smi", "list"], signal);
  if (listed.end !== "missing") {
    if (listed.end !== "exited") return failedLook(listed);
    const { rows, ...output } = parseAmdSmiList(listed.stdout);
    const known = await Promise.all(rows.map((row) => withSysfs(probe, row)));
    if (known.length < 2) return lookOf(listed, { ...output, rows: known });
    const topology = await probe.run(["amd-smi", "topology", "--json"], signal);
    const warnings = new WarningList();
    const links = parseAmdSmiTopology(topology.exitCode === 0 ? topology.stdout : "[]", warnings);
    const said = [...output.warnings, ...warnings.list()];
    return { ...lookOf(listed, { ...output, rows: known, warnings: said }), links };
  }
  const cards = await drmCards(probe, PCI_VENDOR);
  if (cards.length === 0) return noDevices();
  const rows = cards.map(({ pciAddress }, index) => ({ index, name: "", pciAddress, untold: true }));
  const warnings = ["GPUs are known from sysfs only: neither rocm-smi nor amd-smi is on the PATH"];
  return {
    rows: await Promise.all(rows.map((row) => withSysfs(probe, row))),
    unusable: [],
    warnings,
    state: "ok",
    elapsedMs: 0,
  };
}

/** What the amdgpu driver tells beside the card. */
async function withSysfs(probe: Probe, row: ToolRow): Promise<ToolRow> {
  const folder = `/sys/bus/pci/devices/${row.pciAddress}`;
  const read = async (name: string) => {
    const text = await probe.read(`${folder}/${name}`);
    return /^\d{1,15}$/.test(text?.trim() ?? "") ? Number(text) : undefined;
  };
  const names = ["mem_info_vram_total", "mem_info_vram_used", "gpu_busy_percent"];
  const [memoryTotalBytes, memoryUsedBytes, percent] = await Promise.all(names.map(read));
  return {
    ...row,
    ...(memoryTotalBytes ? { memoryTotalBytes } : {}),
    ...(memoryUsedBytes !== undefined && { memoryUsedBytes }),
    ...(percent !== undefined && { utilization: percent / 100 }),
    ...(await hwmonFigures(probe, `${folder}/hwmon`)),
  };
}

/** Reads `amd-smi list`: blocks of keys, one a GPU. Never throws. */
export function parseAmdSmiList(text: string): ToolOutput {
  const list = new RowList();
  let index: number | undefined;
  for (const line of toolLines(text, list.warnings)) {
    const [, key, value] = /^\s{0,16}([A-Z_]{1,32}):\s{0,16}(\S.*)$/.exec(line) ?? [];
    if (key === "GPU") index = wholeNumber(value);
    const pciAddress = key === "BDF" ? pciAddressOf(value) : undefined;
    if (pciAddress === undefined || index === undefined) continue;
    list.add({ index, name: "", pciAddress });
    index = undefined;
  }
  return list.output();
}

/** Reads `amd-smi topology --json`. Never throws. */
export function parseAmdSmiTopology(text: string, warnings: WarningList): RowLink[] {
  const links = new Map<string, RowLink>();
  for (const gpu of elements(parseJsonOutput(text, warnings))) {
    const from = wholeNumber(textOf(gpu, "gpu"));
    const list = Object.entries(gpu ?? {}).find(([name]) => name === "links")?.[1];
    for (const link of elements(list)) {
      const to = wholeNumber(textOf(link, "gpu"));
      const kind = rocmLinkKind(textOf(link, "link_type") ?? "", wholeNumber(textOf(link, "num_hops")));
      if (from === undefined || to === undefined || from === to || !kind) continue;
      const [low, high] = [Math.min(from, to), Math.max(from, to)];
      links.set(`${low}-${high}`, { from: low, to: high, kind });
    }
  }
  return [...links.values()];
}

/** `Arcturus GL-XL [Instinct MI100]` → `AMD-Instinct-MI100`, as Ray's table of PCI numbers has it. */
export function amdAcceleratorType(name: string): string {
  const product = (/\[([^\]]{1,128})\]/.exec(name)?.[1] ?? name).replace(/^AMD\s+/i, "");
  return typeOfName(`AMD ${product}`, "AMD");
}
