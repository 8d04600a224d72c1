import { ratiosOf, spreadOf } from "../statistics.ts";
import type { RowResult } from "./measured.ts";
import { HEADLINE, short } from "./table.ts";

/** A row may lose this part of its ratio to the limit before it counts as a regression: what runs on one machine differ by. */
export const NOISE_PART = 0.25;

export interface Regression {
  row: string;
  before: number;
  now: number;
}

/**
 * Rows whose ratio to the raw limit fell beyond noise: their interval lies wholly below the earlier median less `NOISE_PART`. Figures of different runs are not compared themselves,
 * only what each run measured beside its own limit.
 */
export function regressions(before: readonly RowResult[], now: readonly RowResult[], column = HEADLINE): Regression[] {
  const earlier = new Map(before.map((result) => [result.row.id, ofLimit(result, column)]));
  return now.flatMap((result) => {
    const [then, today] = [earlier.get(result.row.id), ofLimit(result, column)];
    if (!then || !today) return [];
    const allowed = then.median * (1 - NOISE_PART);
    return today.high < allowed ? [{ row: result.row.name, before: then.median, now: today.median }] : [];
  });
}

export function regressionText({ row, before, now }: Regression): string {
  return `${row}: ${short(now)} of the limit, before ${short(before)}`;
}

function ofLimit({ columns, limit, row }: RowResult, column: string) {
  const parts = ratiosOf(columns[column]?.rounds ?? [], limit ?? [], row.better);
  return parts.length === 0 ? undefined : spreadOf(parts);
}
