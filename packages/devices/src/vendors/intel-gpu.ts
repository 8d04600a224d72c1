import { typeOfName } from "../accelerator-type.ts";
import { byteSize } from "../byte-size.ts";
import { drmCards } from "../drm-cards.ts";
import { elements, members, parseJsonOutput, textOf } from "../json-output.ts";
import { type Look, type LookFor, lookOf, noDevices } from "../look.ts";
import { pciAddressOf } from "../pci.ts";
import type { Environment, Probe, ProbeOutcome } from "../probe.ts";
import { toolLines, wholeNumber } from "../tool-lines.ts";
import { RowList, type ToolOutput, type ToolRow } from "../tool-row.ts";
import { vendorPlugin } from "../vendor-plugin.ts";
import { WarningList } from "../warning-list.ts";

const PCI_VENDOR = "0x8086";
const ONEAPI = /^level_zero:((?:\d{1,3},)*\d{1,3})$/;

/**
 * Intel's discrete GPUs by `xpu-smi`, else sysfs. Another vendor's tool has the same name, so it is asked only where sysfs
 * shows such a card, and its answer is taken only in Intel's form (reliability, device rule 7).
 */
export const intelGpu = vendorPlugin({
  vendor: "intel",
  resource: "GPU",
  tool: "xpu-smi",
  prefix: "INTEL",
  variable: "ZE_AFFINITY_MASK",
  reserved: ["ONEAPI_DEVICE_SELECTOR"],
  noset: ["RAY_EXPERIMENTAL_NOSET_ONEAPI_DEVICE_SELECTOR"],
  acceleratorType: (name) => intelAcceleratorType(name),
  look,
  ownList(environment: Environment) {
    return environment["ZE_AFFINITY_MASK"] ?? ONEAPI.exec(environment["ONEAPI_DEVICE_SELECTOR"] ?? "")?.[1];
  },
  // The selector counts what the mask leaves: the node's own would choose again among what was chosen.
  also(entries, nodeEnvironment): Record<string, string> {
    const chosen = ONEAPI.test(nodeEnvironment["ONEAPI_DEVICE_SELECTOR"] ?? "") && entries.length > 0;
    return chosen ? { ONEAPI_DEVICE_SELECTOR: "level_zero:*" } : {};
  },
});

async function look(probe: Probe, purpose: LookFor, signal?: AbortSignal): Promise<Look> {
  // A GPU inside of the processor lies on bus 0, and is no accelerator to schedule.
  const cards = (await drmCards(probe, PCI_VENDOR)).filter(({ pciAddress }) => !pciAddress.startsWith("0000:00:"));
  if (cards.length === 0) return noDevices();
  const outcome = await probe.run(["xpu-smi", "discovery"], signal);
  if (outcome.end === "exited" && isIntels(outcome.stdout)) {
    const found = lookOf(outcome, parseXpuDiscovery(outcome.stdout));
    return purpose === "stats" ? withFigures(probe, found, signal) : found;
  }
  if (outcome.end !== "exited" && outcome.end !== "missing") return lookOf(outcome, parseXpuDiscovery(""));
  const rows = cards.map(({ pciAddress }, index) => ({ index, name: "", pciAddress, untold: true }));
  const why = outcome.end === "missing" ? outcome.message : "xpu-smi on the PATH is not Intel's";
  const warnings = [`GPUs are known from sysfs only: ${why}`];
  return { rows, unusable: [], warnings, state: "ok", elapsedMs: outcome.elapsedMs };
}

/** One more question a card; where the tool does not answer, its cards have no figures. */
async function withFigures(probe: Probe, found: Look, signal?: AbortSignal): Promise<Look> {
  const warnings = new WarningList();
  for (const warning of found.warnings) warnings.add(warning);
  const rows: ToolRow[] = [];
  let { elapsedMs } = found;
  let answers = true;
  for (const row of found.rows) {
    if (!answers) {
      rows.push(row);
      continue;
    }
    const outcome: ProbeOutcome = await probe.run(["xpu-smi", "stats", "-d", String(row.index), "-j"], signal);
    elapsedMs += outcome.elapsedMs;
    answers = outcome.exitCode === 0;
    if (!answers) warnings.add(`xpu-smi tells no figures: ${outcome.message}`);
    rows.push({ ...row, ...(answers && parseXpuStats(outcome.stdout, warnings)) });
  }
  return { ...found, rows, warnings: warnings.list(), elapsedMs };
}

/** Reads `xpu-smi stats -d N -j`: what the whole card does. Never throws. */
export function parseXpuStats(text: string, warnings: WarningList): Partial<ToolRow> {
  const told = new Map<string, number>();
  const metrics = members(parseJsonOutput(text, warnings)).find(([name]) => name === "device_level")?.[1];
  for (const metric of elements(metrics)) {
    const name = textOf(metric, "metrics_type")?.replace("XPUM_STATS_", "");
    const value = members(metric).find(([key]) => key === "value")?.[1];
    if (name !== undefined && typeof value === "number" && value >= 0 && value < 1e15) told.set(name, value);
  }
  const percent = told.get("GPU_UTILIZATION");
  const usedMib = told.get("MEMORY_USED");
  const temperatureC = told.get("GPU_CORE_TEMPERATURE");
  const powerW = told.get("POWER");
  return {
    ...(percent !== undefined && percent <= 100 && { utilization: percent / 100 }),
    ...(usedMib !== undefined && { memoryUsedBytes: Math.round(usedMib * 1_048_576) }),
    ...(temperatureC !== undefined && { temperatureC }),
    ...(powerW !== undefined && { powerW }),
  };
}

/** Intel's tool begins with the head of its table; Kunlunxin's prints other things. */
function isIntels(text: string): boolean {
  return /^\s*\+[-+]+\+\s*\|\s*Device ID\s*\|\s*Device Information/.test(text.slice(0, 2_048));
}

/** Reads the table of `xpu-smi discovery`: a number, and beside it lines of `key: value`. Never throws. */
export function parseXpuDiscovery(text: string): ToolOutput {
  const list = new RowList();
  let index: number | undefined;
  let told = new Map<string, string>();
  let version: string | undefined;
  const finish = () => {
    const pciAddress = pciAddressOf(told.get("PCI BDF Address"));
    const state = told.get("Device State");
    version ??= told.get("Driver Version");
    if (index !== undefined && told.get("Device Type") !== undefined && /^GPU$/i.test(told.get("Device Type")!)) {
      const memoryTotalBytes = byteSize(told.get("Memory Physical Size"));
      list.add({
        index,
        name: told.get("Device Name") ?? "",
        ...(pciAddress && { pciAddress }),
        ...(memoryTotalBytes && { memoryTotalBytes }),
        ...(state && state !== "normal" && { fault: `xpu-smi says Device State ${state.slice(0, 64)}` }),
      });
    }
    told = new Map();
    index = undefined;
  };
  for (const line of toolLines(text, list.warnings)) {
    const [, number, words] = /^\|\s{0,8}(\d{0,4})\s{0,16}\|(.*)\|\s*$/.exec(line) ?? [];
    if (words === undefined) continue;
    if (number !== "") {
      finish();
      index = wholeNumber(number);
    }
    const at = words.indexOf(":");
    if (at > 0) told.set(words.slice(0, at).trim(), words.slice(at + 1).trim());
  }
  finish();
  return list.output(version);
}

/** Ray's words: `Intel(R) Data Center GPU Max 1550` → `Intel-GPU-Max-1550`; others by their name. */
export function intelAcceleratorType(name: string): string {
  const series = /\b(Max|Flex) (?:Series )?(\d{3,4})/i.exec(name);
  return series ? `Intel-GPU-${series[1]}-${series[2]}` : typeOfName(name, "Intel-GPU");
}
