import type { RowLink } from "./look.ts";
import type { Probe } from "./probe.ts";
import { wholeNumber } from "./tool-lines.ts";
import type { ToolRow } from "./tool-row.ts";
import { parseTopologyMatrix } from "./topology-matrix.ts";
import { WarningList } from "./warning-list.ts";

/** Rows with what the matrix says of their place, and the links between them. */
export interface MatrixLook {
  readonly rows: readonly ToolRow[];
  readonly links: readonly RowLink[];
  readonly warnings: readonly string[];
  readonly elapsedMs: number;
}

/**
 * Asks a tool modelled on nvidia-smi for its `topo -m`, where `GPU3` is the row of index 3. Without an answer that is
 * understood the rows are as they were.
 */
export async function matrixLook(
  probe: Probe,
  argv: readonly [tool: string, ...args: string[]],
  rows: readonly ToolRow[],
  signal?: AbortSignal,
): Promise<MatrixLook> {
  if (rows.length < 2) return { rows, links: [], warnings: [], elapsedMs: 0 };
  const { exitCode, stdout, message, elapsedMs } = await probe.run(argv, signal);
  const warnings = new WarningList();
  if (exitCode !== 0) warnings.add(`links between devices are not known: ${message}`);
  const matrix = exitCode === 0 ? parseTopologyMatrix(stdout, /^GPU\d{1,4}$/, warnings) : undefined;
  const links = (matrix?.links ?? []).map(
    (link): RowLink => ({ ...link, from: indexOf(link.from), to: indexOf(link.to) }),
  );
  const placed = rows.map((row) => ({ ...matrix?.places.get(`GPU${row.index}`), ...row }));
  return { rows: placed, links, warnings: warnings.list(), elapsedMs };
}

function indexOf(name: string): number {
  return wholeNumber(name.slice("GPU".length))!;
}
