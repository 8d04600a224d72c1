import { typeOfName } from "../accelerator-type.ts";
import { type BoxColumns, boxRow } from "../box-row.ts";
import { parseBoxTable } from "../box-table.ts";
import { toolLook } from "../look.ts";
import { RowList, type ToolOutput } from "../tool-row.ts";
import { vendorPlugin } from "../vendor-plugin.ts";

const COLUMNS: BoxColumns = {
  ...{ index: "Device", name: "Arch", place: "PCI-BDF", temperature: "Temp.", power: "Power" },
};

/** FuriosaAI NPUs by `furiosa-smi info`. A device is written `npu:0`. */
export const furiosa = vendorPlugin({
  vendor: "furiosa",
  resource: "FURIOSA",
  tool: "furiosa-smi",
  prefix: "FURIOSA",
  variable: "FURIOSA_DEVICES",
  wholeOnly: true,
  acceleratorType: (name) => typeOfName(`FURIOSA_${name}`, "FURIOSA"),
  write: (device) => `npu:${device.index}`,
  names: (entry, device) => /^(npu:)?\d{1,9}$/.test(entry) && Number(entry.replace("npu:", "")) === device.index,
  look(probe, _purpose, signal) {
    const files = { folder: "/dev/rngd", before: "npu", behind: "mgmt" };
    return toolLook(probe, ["furiosa-smi", "info"], files, parseFuriosaSmi, signal);
  },
});

/** Reads `furiosa-smi info`. Never throws. */
export function parseFuriosaSmi(text: string): ToolOutput {
  const list = new RowList();
  for (const row of parseBoxTable(text, COLUMNS.name, list.warnings) ?? []) {
    const device = boxRow(row, COLUMNS, /^npu(\d{1,4})$/);
    if (device) list.add({ ...device, name: device.name.toUpperCase() });
  }
  return list.output();
}
