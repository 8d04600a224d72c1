import { medianOf, type Spread } from "../statistics.ts";
import { judge, type RowResult } from "./measured.ts";

const NAME_WIDTH = 62;

/** The headline column: `whipray start` daemons with their defaults. */
export const HEADLINE = "whipray";

/** Rows that Whipray loses first, then those without a difference, then the rest; each in the order they were run. */
export function losersFirst(results: readonly RowResult[]): RowResult[] {
  const order = { slower: 0, "no difference": 1, faster: 2 };
  const rank = (result: RowResult): number => order[judge(result, HEADLINE)?.verdict ?? "no difference"];
  return [...results].sort((a, b) => rank(a) - rank(b));
}

/** The table of a terminal: a line a row, a line of reasons below where a column failed. */
export function tableOf(results: readonly RowResult[], columns: readonly string[]): string {
  const head = [
    pad("", NAME_WIDTH),
    ...columns.map((name) => name.padStart(14)),
    "× Ray [95 %]".padStart(26),
    "of limit".padStart(10),
    "  floor",
  ];
  return [head.join(""), ...losersFirst(results).flatMap((result) => linesOf(result, columns))].join("\n");
}

function linesOf(result: RowResult, columns: readonly string[]): string[] {
  const { row } = result;
  const cells = columns.map((name) => figureOf(result.columns[name]?.rounds ?? [], row.unit).padStart(14));
  const judged = judge(result, HEADLINE) ?? judge(result, "whipray embedded");
  const ratio = judged ? `${ratioText(judged.ratio)} ${markOf(judged.verdict)}` : "";
  const part = judged?.ofLimit === undefined ? "" : `${(judged.ofLimit * 100).toFixed(0)} %`;
  const floor = judged?.reached === undefined ? "" : judged.reached ? "  yes" : `  NO (${floorText(result)})`;
  const line = [pad(row.name, NAME_WIDTH), ...cells, ratio.padStart(26), part.padStart(10), floor].join("");
  const errors = Object.entries(result.columns).flatMap(([name, { error }]) =>
    error === undefined ? [] : [`    ${name}: ${error.split("\n").slice(-3).join(" | ").slice(0, 200)}`],
  );
  return [line, ...errors];
}

function markOf(verdict: string): string {
  return { faster: "▲", slower: "▼" }[verdict] ?? "=";
}

export function floorText({ row: { floor } }: RowResult): string {
  const parts = [
    ...(floor?.times === undefined ? [] : [`${floor.times}×`]),
    ...(floor?.ofLimit === undefined ? [] : [`${floor.ofLimit * 100} % of the limit`]),
  ];
  return parts.join(" or ");
}

export function ratioText({ median, low, high }: Spread): string {
  return `${short(median)} [${short(low)}–${short(high)}]`;
}

export function figureOf(rounds: readonly number[], unit: string): string {
  return rounds.length === 0 ? "–" : `${short(medianOf(rounds))} ${unit}`;
}

/** Three digits, and no more than a reader can use. */
export function short(value: number): string {
  if (!Number.isFinite(value)) return "–";
  if (value >= 100) return Math.round(value).toLocaleString("en-US").replaceAll(",", " ");
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

function pad(text: string, width: number): string {
  return text.length > width - 1 ? `${text.slice(0, width - 2)}… ` : text.padEnd(width);
}
