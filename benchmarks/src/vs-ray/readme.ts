import { growthOf, growthText } from "./growth.ts";
import { judge, type RowResult } from "./measured.ts";
import type { Run } from "./report.ts";
import { figureOf, floorText, HEADLINE, losersFirst, ratioText } from "./table.ts";

/** Between these two lines the table stands; whatever was there is replaced. */
export const BEGIN = "<!-- vs-ray: written by `npm run bench -- --vs-ray --quick --readme` -->";
export const END = "<!-- vs-ray: end -->";

/** The text with the table of a run between its markers. @throws Error when it does not have them, in this order. */
export function withTable(text: string, run: Run, picture: string): string {
  const [from, to] = [text.indexOf(BEGIN), text.indexOf(END)];
  if (from < 0 || to < from) throw new Error(`README.md needs the lines ${BEGIN} and ${END} for its table`);
  return `${text.slice(0, from + BEGIN.length)}\n\n${markdownOf(run, picture)}\n\n${text.slice(to)}`;
}

/** Date, machine, versions, and every row, those that Whipray loses first. */
export function markdownOf(run: Run, picture: string): string {
  const { facts, rounds, seconds, results } = run;
  const machine = `${facts.cores} × ${facts.cpu}, ${facts.memoryGiB} GiB, Linux ${facts.kernel}, load ${facts.load} at the start`;
  const versions = `Ray ${facts.ray} on Python ${facts.python}, Whipray on Node ${facts.node}`;
  const verdicts = results.map((result) => judge(result, HEADLINE)?.verdict);
  const count = (verdict: string): number => verdicts.filter((one) => one === verdict).length;
  const columns = run.columns.filter((name) => results.some((result) => result.columns[name]));
  const head = ["", ...columns, "× Ray [95 %]", "of limit", "goal"];
  return [
    `${facts.date.slice(0, 10)}: ${machine}. ${versions}. ${rounds} interleaved rounds of ${seconds} s a row; medians, with the bootstrap 95 % interval of the rounds' own ratios. Of ${results.length} rows Whipray is faster in ${count("faster")}, slower in ${count("slower")}; rows lost come first. What both sides guarantee in a row, and how it was measured: [benchmarks/README.md](benchmarks/README.md).`,
    ...(run.leftOut?.length ? ["", `Not measured, since the time was over: ${run.leftOut.join(", ")}.`] : []),
    "",
    `![How many times better than Ray](${picture})`,
    "",
    line(head),
    line(head.map((_, i) => (i === 0 ? "---" : "---:"))),
    ...losersFirst(results).map((result) => line(cellsOf(result, columns))),
    ...growthOf(results, columns).flatMap((growth) => ["", `${growthText(growth)}.`]),
  ].join("\n");
}

function cellsOf(result: RowResult, columns: readonly string[]): string[] {
  const { row } = result;
  const judged = judge(result, HEADLINE) ?? judge(result, "whipray embedded");
  const figures = columns.map((name) => {
    const { rounds = [], error } = result.columns[name] ?? {};
    return error === undefined ? figureOf(rounds, row.unit) : `failed: ${error.split("\n").at(-1)!.slice(0, 80)}`;
  });
  const mark = judged && { faster: " ▲", slower: " ▼", "no difference": "" }[judged.verdict];
  return [
    row.name,
    ...figures,
    judged ? `${ratioText(judged.ratio)}${mark}` : "",
    judged?.ofLimit === undefined ? "" : `${(judged.ofLimit * 100).toFixed(0)} %`,
    judged?.reached === undefined ? "" : `${floorText(result)}: ${judged.reached ? "yes" : "**no**"}`,
  ];
}

function line(cells: readonly string[]): string {
  return `| ${cells.map((cell) => cell.replace(/\s*\n\s*/g, " ").replaceAll("|", "\\|")).join(" | ")} |`;
}
