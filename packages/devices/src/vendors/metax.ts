import { typeOfName } from "../accelerator-type.ts";
import { type BoxColumns, boxRow } from "../box-row.ts";
import { parseBoxTable } from "../box-table.ts";
import { type Look, type LookFor, lookOf, noDevices } from "../look.ts";
import { matrixLook } from "../matrix-look.ts";
import { pciAddressOf } from "../pci.ts";
import type { Probe } from "../probe.ts";
import { toolLines, wholeNumber } from "../tool-lines.ts";
import { RowList, type ToolOutput } from "../tool-row.ts";
import { vendorPlugin } from "../vendor-plugin.ts";
import { quote } from "../warning-list.ts";

const COLUMNS: BoxColumns = {
  ...{ index: "GPU", name: "NAME", place: "Bus-id", memory: "Memory-Usage", utilization: "GPU-Util" },
  ...{ temperature: "Temp", power: "Pwr:Usage/Cap" },
};
const LISTED = /^GPU#(\d{1,4})\s{1,16}(\S{1,64})\s{1,16}([0-9a-fA-F:.]{10,20})\s{1,16}(\S.*)$/;
const AVAILABLE = /^Available \(UUID: (GPU-[\w-]{4,64})\)$/;

/** MetaX GPUs by `mx-smi`: the list has the UUIDs, the table the rest. The runtime reads CUDA's variable, as in Ray. */
export const metax = vendorPlugin({
  vendor: "metax",
  resource: "GPU",
  tool: "mx-smi",
  prefix: "METAX",
  variable: "CUDA_VISIBLE_DEVICES",
  acceleratorType: (name) => metaxAcceleratorType(name),
  look,
});

async function look(probe: Probe, purpose: LookFor, signal?: AbortSignal): Promise<Look> {
  const list = await probe.run(["mx-smi", "-L"], signal);
  // Moffett ships another tool of this name.
  if (list.end === "missing" || /moffett/i.test(list.stdout.slice(0, 2_048))) return noDevices(list.elapsedMs);
  const listed = parseMxList(list.stdout);
  if (list.end !== "exited" || listed.rows.length === 0) return lookOf(list, listed);
  const table = await probe.run(["mx-smi"], signal);
  const values = new Map(parseMxTable(table.stdout).rows.map((row) => [row.index, row]));
  const rows = listed.rows.map((row) => ({ ...values.get(row.index), ...row }));
  const spentMs = list.elapsedMs + table.elapsedMs;
  if (purpose !== "identify" || table.end !== "exited")
    return { ...lookOf(list, { ...listed, rows }), elapsedMs: spentMs };
  const matrix = await matrixLook(probe, ["mx-smi", "topo", "-m"], rows, signal);
  const warnings = [...listed.warnings, ...matrix.warnings];
  const look = lookOf(list, { ...listed, rows: matrix.rows, warnings });
  return { ...look, links: matrix.links, elapsedMs: spentMs + matrix.elapsedMs };
}

/** Reads `mx-smi -L`. A card that is not available has no UUID and cannot be used. Never throws. */
export function parseMxList(text: string): ToolOutput {
  const list = new RowList();
  for (const line of toolLines(text, list.warnings)) {
    const [, number, name, bus, state] = LISTED.exec(line.trim()) ?? [];
    const index = wholeNumber(number);
    const pciAddress = pciAddressOf(bus);
    if (index === undefined || state === undefined || !pciAddress) continue;
    const uuid = AVAILABLE.exec(state)?.[1];
    if (uuid === undefined) {
      list.unusable({ index, pciAddress, reason: `GPU ${index} is faulty: mx-smi says ${quote(state)}` });
    } else list.add({ index, name: name!, uuid, pciAddress });
  }
  return list.output();
}

/** Reads the table of `mx-smi`; the head's columns differ between versions. Never throws. */
export function parseMxTable(text: string): ToolOutput {
  const list = new RowList();
  for (const row of parseBoxTable(text, COLUMNS.index, list.warnings) ?? []) {
    const device = boxRow(row, COLUMNS);
    const state = row.get("GPU-State");
    const faulty = state && state !== "Available" && { fault: `mx-smi says GPU-State ${state.slice(0, 64)}` };
    // Since 2.2.9 the name stands beside a number of the board.
    if (device) list.add({ ...device, name: device.name || (row.get("Name") ?? ""), ...faulty });
  }
  return list.output(/Kernel Mode Driver Version:\s{0,16}([\w.-]{1,64})/.exec(text.slice(0, 4_096))?.[1]);
}

/** `MetaX C550` and `MXC550` are one product. */
export function metaxAcceleratorType(name: string): string {
  return typeOfName(name.replace(/^MetaX\s+/i, "MX"), "MetaX");
}
