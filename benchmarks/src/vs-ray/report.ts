import { escaped, ratioBars, stepHistogram } from "./chart.ts";
import type { Facts } from "./facts.ts";
import { growthOf, growthText } from "./growth.ts";
import { judge, type RowResult } from "./measured.ts";
import { LEFT_OUT } from "./rows.ts";
import { figureOf, floorText, HEADLINE, losersFirst, ratioText } from "./table.ts";

/** All of a run: what `--vs-ray` writes and `--against` reads. */
export interface Run {
  format: 1;
  facts: Facts;
  columns: string[];
  rounds: number;
  seconds: number;
  quick: boolean;
  results: RowResult[];
  /** Names of rows for which no time was left. */
  leftOut?: string[];
}

const STYLE =
  "body{font:14px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:1060px;padding:0 1rem;color:#212529}table{border-collapse:collapse;width:100%}" +
  "th,td{padding:.25rem .5rem;border-bottom:1px solid #dee2e6;text-align:right}th:first-child,td:first-child{text-align:left}tr.slower td{background:#fff0f0}" +
  "tr.missed td:last-child{color:#c92a2a}small{color:#495057}details{margin:.2rem 0}svg{max-width:100%;height:auto}";

/** A page without anything from elsewhere: it can be mailed and opened years later. */
export function reportOf(run: Run): string {
  const { facts, columns } = run;
  const results = losersFirst(run.results);
  const head = ["row", ...columns, "× Ray [95 %]", "of limit", "floor"]
    .map((text) => `<th>${escaped(text)}</th>`)
    .join("");
  const about = Object.entries(facts).map(([name, value]) => `${name} ${value}`);
  const left = Object.entries(LEFT_OUT).map(([name, why]) => `<li>${escaped(name)}: ${escaped(why)}</li>`);
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>Whipray beside Ray</title><style>${STYLE}</style>
<h1>Whipray beside Ray</h1>
<p>${run.rounds} interleaved rounds of ${run.seconds} s a row${run.quick ? ", long loops at a tenth of their length (both sides)" : ""}. Medians; the ratio is the median of the rounds' own ratios with its bootstrap 95 % interval.
Rows that Whipray loses come first. The column “${HEADLINE}” is <code>whipray start --head</code> with its defaults: token, journal on disk.</p>
<p><small>${escaped(about.join(" · "))}</small></p>
${ratioBars(results)}
<table><thead><tr>${head}</tr></thead><tbody>${results.map((result) => rowOf(result, columns)).join("")}</tbody></table>
<ul>${growthOf(run.results, columns)
    .map((growth) => `<li>${escaped(growthText(growth))}</li>`)
    .join("")}</ul>
<h2>Not measured</h2><ul>${left.join("")}</ul>
</html>`;
}

function rowOf(result: RowResult, columns: readonly string[]): string {
  const { row } = result;
  const judged = judge(result, HEADLINE) ?? judge(result, "whipray embedded");
  const classes = [judged?.verdict === "slower" ? "slower" : "", judged?.reached === false ? "missed" : ""].join(" ");
  const cells = columns.map((name) => {
    const { rounds = [], error } = result.columns[name] ?? {};
    return error === undefined ? figureOf(rounds, row.unit) : `<span title="${escaped(error)}">failed</span>`;
  });
  const floor = judged?.reached === undefined ? "" : `${judged.reached ? "yes" : "no"} (${floorText(result)})`;
  const part = judged?.ofLimit === undefined ? "" : `${(judged.ofLimit * 100).toFixed(0)} %`;
  const more = [row.guarantees && `<small>${escaped(row.guarantees)}</small><br>`, stepHistogram(result)]
    .filter(Boolean)
    .join("");
  const name = more === "" ? escaped(row.name) : `<details><summary>${escaped(row.name)}</summary>${more}</details>`;
  return `<tr class="${classes.trim()}">${[name, ...cells, judged ? ratioText(judged.ratio) : "", part, floor].map((cell) => `<td>${cell}</td>`).join("")}</tr>`;
}
