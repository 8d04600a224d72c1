import { typeOfName } from "../accelerator-type.ts";
import { type BoxColumns, boxRow } from "../box-row.ts";
import { parseBoxTable } from "../box-table.ts";
import { toolLook } from "../look.ts";
import { RowList, type ToolOutput } from "../tool-row.ts";
import { vendorPlugin } from "../vendor-plugin.ts";

const COLUMNS: BoxColumns = {
  ...{ index: "ID", name: "Name", place: "PCIe", memory: "Mem", utilization: "%GPU", temperature: "Temp" },
};

/** Moore Threads GPUs by `mthreads-gmi`. */
export const mooreThreads = vendorPlugin({
  vendor: "moore-threads",
  resource: "GPU",
  tool: "mthreads-gmi",
  prefix: "MTT",
  variable: "MUSA_VISIBLE_DEVICES",
  acceleratorType: (name) => typeOfName(name, "MTT"),
  look(probe, _purpose, signal) {
    return toolLook(probe, ["mthreads-gmi"], { folder: "/dev", before: "mtgpu." }, parseMthreadsGmi, signal);
  },
});

/** Reads the table of `mthreads-gmi`: three lines a card, one column more since version 2. Never throws. */
export function parseMthreadsGmi(text: string): ToolOutput {
  const list = new RowList();
  for (const row of parseBoxTable(text, COLUMNS.index, list.warnings) ?? []) {
    const device = boxRow(row, COLUMNS);
    if (device) list.add(device);
  }
  return list.output(/Driver Version:\s{0,16}([\w.-]{1,64})/.exec(text.slice(0, 4_096))?.[1]);
}
