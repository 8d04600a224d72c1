import { typeOfName } from "../accelerator-type.ts";
import { parseCsvTable } from "../csv-table.ts";
import { type Look, type LookFor, toolLook } from "../look.ts";
import { matrixLook } from "../matrix-look.ts";
import { pciAddressOf } from "../pci.ts";
import type { Probe } from "../probe.ts";
import { wholeNumber } from "../tool-lines.ts";
import { RowList, type ToolOutput } from "../tool-row.ts";
import { vendorPlugin } from "../vendor-plugin.ts";

/** What is known to be answered, in this order, without a header. */
const FIELDS = ["index", "name", "memory.total", "memory.used", "utilization.gpu", "temperature.gpu"];
const PLACED_FIELDS = [...FIELDS, "uuid", "pci.bus_id", "power.draw"];

/** Iluvatar CoreX by `ixsmi`, which takes nvidia-smi's words. Its runtime reads CUDA's variable. */
export const iluvatar = vendorPlugin({
  vendor: "iluvatar",
  resource: "GPU",
  tool: "ixsmi",
  prefix: "ILUVATAR",
  variable: "CUDA_VISIBLE_DEVICES",
  acceleratorType: (name) => typeOfName(name.replace(/^Iluvatar\s+/i, ""), "Iluvatar"),
  look,
});

async function look(probe: Probe, purpose: LookFor, signal?: AbortSignal): Promise<Look> {
  const ask = (fields: readonly string[]) => {
    const argv = ["ixsmi", "--format=csv,noheader", `--query-gpu=${fields.join(",")}`] as const;
    const files = { folder: "/dev", before: "iluvatar" };
    return toolLook(probe, argv, files, (text) => parseIxsmi(text, fields), signal);
  };
  const placed = await ask(PLACED_FIELDS);
  const refused = placed.error?.code === "PROBE_FAILED" || placed.error?.code === "PROBE_UNREADABLE";
  const found = refused ? await ask(FIELDS) : placed;
  if (purpose !== "identify" || found.state !== "ok") return found;
  const matrix = await matrixLook(probe, ["ixsmi", "topo", "-m"], found.rows, signal);
  const warnings = [...found.warnings, ...matrix.warnings];
  return { ...found, rows: matrix.rows, links: matrix.links, warnings, elapsedMs: found.elapsedMs + matrix.elapsedMs };
}

/**
 * Reads `ixsmi --query-gpu=… --format=csv,noheader`. Never throws.
 * @param fields what was asked for, in this order.
 */
export function parseIxsmi(text: string, fields: readonly string[] = FIELDS): ToolOutput {
  const list = new RowList();
  for (const row of parseCsvTable(`${fields.join(",")}\n${text}`, ["index"], list.warnings).rows) {
    const index = wholeNumber(row.text("index"));
    if (index === undefined) continue;
    const uuid = row.text("uuid");
    const pciAddress = pciAddressOf(row.text("pci.bus_id"));
    const memoryTotalBytes = row.bytes("memory.total");
    const memoryUsedBytes = row.bytes("memory.used");
    const percent = row.number("utilization.gpu");
    const temperatureC = row.number("temperature.gpu");
    const powerW = row.number("power.draw");
    list.add({
      index,
      name: row.text("name") ?? "",
      ...(uuid && /^GPU-[\w-]{8,64}$/.test(uuid) && { uuid }),
      ...(pciAddress && { pciAddress }),
      ...(memoryTotalBytes !== undefined && { memoryTotalBytes }),
      ...(memoryUsedBytes !== undefined && { memoryUsedBytes }),
      ...(percent !== undefined && { utilization: percent / 100 }),
      ...(temperatureC !== undefined && { temperatureC }),
      ...(powerW !== undefined && { powerW }),
    });
  }
  return list.output();
}
