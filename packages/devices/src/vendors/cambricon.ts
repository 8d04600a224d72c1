import { typeOfName } from "../accelerator-type.ts";
import { type BoxColumns, boxRow } from "../box-row.ts";
import { parseBoxTable } from "../box-table.ts";
import { toolLook } from "../look.ts";
import { RowList, type ToolOutput } from "../tool-row.ts";
import { vendorPlugin } from "../vendor-plugin.ts";

const COLUMNS: BoxColumns = {
  ...{ index: "Card", name: "Name", place: "Bus-Id", memory: "Memory-Usage", utilization: "Util" },
  ...{ temperature: "Temp", power: "Pwr:Usage/Cap", eccErrors: "Ecc-Error" },
};

/** Cambricon MLUs by `cnmon`. */
export const cambricon = vendorPlugin({
  vendor: "cambricon",
  resource: "GPU",
  tool: "cnmon",
  prefix: "MLU",
  variable: "MLU_VISIBLE_DEVICES",
  acceleratorType: (name) => typeOfName(name, "MLU"),
  look(probe, _purpose, signal) {
    return toolLook(probe, ["cnmon"], { folder: "/dev", before: "cambricon_dev" }, parseCnmon, signal);
  },
});

/** Reads the table of `cnmon`; version 4 has `Inited` and no place on the bus. Never throws. */
export function parseCnmon(text: string): ToolOutput {
  const list = new RowList();
  for (const row of parseBoxTable(text, COLUMNS.index, list.warnings) ?? []) {
    const device = boxRow(row, COLUMNS);
    if (device) list.add(device);
  }
  return list.output(/CNMON (v[\w.]{1,32})/.exec(text.slice(0, 4_096))?.[1]);
}
