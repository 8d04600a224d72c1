import { type BoxRow, usedAndTotal } from "./box-table.ts";
import { byteSize } from "./byte-size.ts";
import { pciAddressOf } from "./pci.ts";
import { decimalNumber, wholeNumber } from "./tool-lines.ts";
import type { ToolRow } from "./tool-row.ts";

/** The vendor's names of the columns that every vendor's table has in some form. */
export interface BoxColumns {
  readonly index: string;
  readonly name: string;
  readonly place?: string;
  /** `used / total` */
  readonly memory?: string;
  readonly utilization?: string;
  readonly temperature?: string;
  /** `53W`, or `53W / 450W` with the limit behind it. */
  readonly power?: string;
  readonly eccErrors?: string;
}

/**
 * One row of a drawn table as a device; undefined without a number.
 * @param indexForm when the number has words around it: /^npu(\d+)$/.
 */
export function boxRow(row: BoxRow, columns: BoxColumns, indexForm = /^(\d{1,4})$/): ToolRow | undefined {
  const cell = (column: string | undefined) => (column === undefined ? undefined : row.get(column));
  const index = wholeNumber(indexForm.exec(cell(columns.index) ?? "")?.[1]);
  if (index === undefined) return undefined;
  const pciAddress = pciAddressOf(cell(columns.place));
  const [used, total] = usedAndTotal(cell(columns.memory)) ?? [];
  const [memoryUsedBytes, memoryTotalBytes] = [byteSize(used), byteSize(total)];
  const percent = measure(cell(columns.utilization), "%");
  const temperatureC = measure(cell(columns.temperature), "C");
  const powerW = measure(cell(columns.power)?.split("/", 1)[0], "W");
  const eccErrors = wholeNumber(cell(columns.eccErrors));
  return {
    index,
    name: cell(columns.name) ?? "",
    ...(pciAddress && { pciAddress }),
    ...(memoryTotalBytes !== undefined && { memoryTotalBytes }),
    ...(memoryUsedBytes !== undefined && { memoryUsedBytes }),
    ...(percent !== undefined && { utilization: percent / 100 }),
    ...(temperatureC !== undefined && { temperatureC }),
    ...(powerW !== undefined && { powerW }),
    ...(eccErrors !== undefined && { eccErrors }),
    ...(eccErrors && { fault: `${eccErrors} uncorrected ECC errors` }),
  };
}

/** `26C`, `29.81°C`, `53 W`, `98.7` → the number. */
function measure(text: string | undefined, unit: string): number | undefined {
  const [, amount, rest] = /^(\d{1,9}(?:\.\d{1,6})?) ?°?([%CW]?)$/.exec(text?.trim() ?? "") ?? [];
  return rest === "" || rest === unit ? decimalNumber(amount) : undefined;
}
