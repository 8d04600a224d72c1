import { typeOfName } from "../accelerator-type.ts";
import { type BoxColumns, boxRow } from "../box-row.ts";
import { parseBoxTable } from "../box-table.ts";
import { deviceFiles, type FilePlace, fileLook, type Look, lookOf, noDevices, withFiles } from "../look.ts";
import type { Probe } from "../probe.ts";
import { RowList, type ToolOutput } from "../tool-row.ts";
import { vendorPlugin } from "../vendor-plugin.ts";

const FILES: FilePlace = { folder: "/dev", before: "rbln" };

const COLUMNS: BoxColumns = {
  ...{ index: "NPU", name: "Name", place: "PCI BUS ID", memory: "Memory(used/total)" },
  ...{ utilization: "Util", temperature: "Temp", power: "Power" },
};

/** Rebellions NPUs by `rbln-smi`, which was `rbln-stat`. */
export const rebellions = vendorPlugin({
  vendor: "rebellions",
  resource: "RBLN",
  tool: "rbln-smi",
  prefix: "RBLN",
  variable: "RBLN_DEVICES",
  noset: ["RAY_EXPERIMENTAL_NOSET_RBLN_RT_VISIBLE_DEVICES"],
  wholeOnly: true,
  acceleratorType: (name) => typeOfName(name, "RBLN"),
  look,
});

async function look(probe: Probe, _purpose: string, signal?: AbortSignal): Promise<Look> {
  const numbers = await deviceFiles(probe, FILES);
  if (numbers?.length === 0) return noDevices();
  const newer = await probe.run(["rbln-smi"], signal);
  const outcome = newer.end === "missing" ? await probe.run(["rbln-stat"], signal) : newer;
  if (outcome.end === "missing") return fileLook(numbers, FILES, outcome.message);
  const found = lookOf(outcome, parseRblnSmi(outcome.stdout));
  return { ...found, rows: withFiles(found.rows, FILES) };
}

/** Reads the first table of `rbln-smi`. Never throws. */
export function parseRblnSmi(text: string): ToolOutput {
  const list = new RowList();
  for (const row of parseBoxTable(text, COLUMNS.index, list.warnings) ?? []) {
    const device = boxRow(row, COLUMNS);
    if (device && row.get("Device") === `rbln${device.index}`) list.add(device);
  }
  return list.output(/KMD ver: (\d[\w.]{0,32})/.exec(text.slice(0, 4_096))?.[1]);
}
