import { typeOfName } from "../src/accelerator-type.ts";
import { type BoxColumns, boxRow } from "../src/box-row.ts";
import { parseBoxTable } from "../src/box-table.ts";
import { toolLook } from "../src/look.ts";
import { RowList, type ToolOutput } from "../src/tool-row.ts";
import { vendorPlugin } from "../src/vendor-plugin.ts";

const COLUMNS: BoxColumns = {
  ...{ index: "Card", name: "Name", place: "Bus-Id", memory: "Memory", utilization: "Util" },
  ...{ temperature: "Temp", power: "Power", eccErrors: "Ecc" },
};

/** Acme NPUs by `acme-smi`. */
export const acme = vendorPlugin({
  vendor: "acme",
  resource: "NPU",
  tool: "acme-smi",
  prefix: "ACME",
  variable: "ACME_VISIBLE_DEVICES",
  acceleratorType: (name) => typeOfName(name, "Acme"),
  look(probe, _purpose, signal) {
    return toolLook(probe, ["acme-smi"], { folder: "/dev", before: "acme" }, parseAcmeSmi, signal);
  },
});

/** Reads the table of `acme-smi`. Never throws. */
export function parseAcmeSmi(text: string): ToolOutput {
  const list = new RowList();
  for (const row of parseBoxTable(text, COLUMNS.index, list.warnings) ?? []) {
    const device = boxRow(row, COLUMNS);
    if (device) list.add(device);
  }
  return list.output(/Driver Version: (\d[\w.]{0,32})/.exec(text.slice(0, 4_096))?.[1]);
}
