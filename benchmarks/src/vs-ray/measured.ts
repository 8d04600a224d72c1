import { ratiosOf, type Spread, spreadOf, type Verdict, verdictOf } from "../statistics.ts";
import type { RowSpec } from "./rows.ts";

/** Every sample of one column of one row. */
export interface ColumnResult {
  /** One value a round, in the row's unit. */
  rounds: number[];
  /** Milliseconds of single steps, at most `KEPT_STEPS` of them, spread over the rounds. */
  stepsMs: number[];
  error?: string;
}

export interface RowResult {
  row: RowSpec;
  columns: Record<string, ColumnResult>;
  /** The physical limit's rate a round, in its own unit. */
  limit?: number[];
}

export interface Judged {
  ratio: Spread;
  verdict: Verdict;
  /** Ours over the limit: the median of the rounds'. */
  ofLimit?: number;
  /** Whether a floor is reached; undefined where the row has none. */
  reached?: boolean;
}

export const KEPT_STEPS = 2_000;

/** A round's value from the seconds that its steps took. */
export function rateOf(took: readonly number[], per: number): number {
  const seconds = took.reduce((sum, each) => sum + each, 0);
  return (took.length * per) / seconds;
}

/** Keeps the steps of a round, thinned out evenly. */
export function keepSteps(into: number[], took: readonly number[], rounds: number): void {
  const most = Math.max(1, Math.floor(KEPT_STEPS / rounds));
  const stride = Math.max(1, Math.ceil(took.length / most));
  for (let i = 0; i < took.length; i += stride) into.push(took[i]! * 1_000);
}

/** How a column does beside Ray's. Undefined where one of them has no figures. */
export function judge({ row, columns, limit }: RowResult, ours: string, theirs = "ray"): Judged | undefined {
  const mine = columns[ours]?.rounds ?? [];
  const ratios = ratiosOf(mine, columns[theirs]?.rounds ?? [], row.better);
  if (ratios.length === 0) return undefined;
  const ratio = spreadOf(ratios);
  const parts = limit ? ratiosOf(mine, limit, row.better) : [];
  const ofLimit = parts.length > 0 ? spreadOf(parts).median : undefined;
  const { times, ofLimit: part } = row.floor ?? {};
  const reached =
    (times !== undefined && ratio.median >= times) || (part !== undefined && ofLimit !== undefined && ofLimit >= part);
  return {
    ratio,
    verdict: verdictOf(ratio),
    ...(ofLimit !== undefined && { ofLimit }),
    ...(row.floor && { reached }),
  };
}
