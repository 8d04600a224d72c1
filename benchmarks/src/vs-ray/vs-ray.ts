import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { regressions, regressionText } from "./against.ts";
import { ratioBars } from "./chart.ts";
import { COLUMNS, openColumns, pythonVersion } from "./columns.ts";
import { compare } from "./compare.ts";
import { factsOf } from "./facts.ts";
import { growthOf, growthText } from "./growth.ts";
import { openLimits } from "./limits.ts";
import type { RowResult } from "./measured.ts";
import { rayPython } from "./ray-venv.ts";
import { withTable } from "./readme.ts";
import { type Run, reportOf } from "./report.ts";
import { ROWS, type RowSpec } from "./rows.ts";
import { losersFirst, tableOf } from "./table.ts";

export interface VsRayOptions {
  /** Parts of ids or names; none: all. */
  rows: readonly string[];
  seconds: number;
  rounds: number;
  quick: boolean;
  json: boolean;
  /** Writes the table into README.md, between its markers. */
  readme: boolean;
  /** JSON of an earlier run. */
  against?: string | undefined;
  /** For homes, sockets and Ray's session; a short path. Who gave it removes it, and ends whoever is left in it. */
  folder: string;
  /** Where the virtual environment and the results go. */
  out: string;
}

/** `--quick` ends by then: rows that are not done are named and left out. */
const QUICK_LIMIT_MS = 11 * 60_000;
/** A slow row has fewer rounds in `--quick`. */
const QUICK_ROW_SECONDS = 20;
/** The bars, beside the table in README.md. */
const PICTURE = "docs/vs-ray.svg";

const STOP_SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
/** As of a shell for SIGINT. */
const STOPPED_EXIT_CODE = 130;

/** `npm run bench -- --vs-ray`: Ray and Whipray in turns, in one run. Gives the exit code. */
export async function vsRay(options: VsRayOptions): Promise<number> {
  const tell = (line: string): void => console.error(line);
  const rows = chosen(options);
  if (rows.length === 0) {
    tell(`no row matches ${options.rows.join(", ")}; there are ${ROWS.map(({ id }) => id).join(", ")}`);
    return 2;
  }
  const before = options.against === undefined ? undefined : (JSON.parse(readFileSync(options.against, "utf8")) as Run);
  const python = await rayPython(join(options.out, "ray-venv"), tell);
  const names = options.quick ? COLUMNS.slice(0, 2) : COLUMNS;
  tell(`starting ${names.join(", ")} …`);
  const opened = await openColumns(
    names,
    python,
    options.folder,
    rows.some(({ remote }) => remote),
  );
  const limits = await openLimits();
  const results: RowResult[] = [];
  const startedAt = performance.now();
  let stopped: NodeJS.Signals | undefined;
  let closing: Promise<void> | undefined;
  // Nobody is left behind: the sides end, what they were doing answers with an error, and what was measured is kept.
  const stop = (signal: NodeJS.Signals): void => {
    if (stopped) return; // npm and the shell may both pass it on
    stopped = signal;
    tell(`${signal}: ending all sides …`);
    closing ??= opened.close();
  };
  for (const signal of STOP_SIGNALS) process.on(signal, stop);
  try {
    const facts = factsOf(pythonVersion(python), String(opened.facts["ray"]), "workspace");
    const asked = { ...options, ...(options.quick && { rowSeconds: QUICK_ROW_SECONDS }) };
    for await (const result of compare(rows, opened.columns, limits, asked)) {
      if (stopped) break;
      results.push(result);
      const perRow = (performance.now() - startedAt) / results.length;
      tell(
        `[${results.length}/${rows.length}, ${minutes(perRow * (rows.length - results.length))} left] ${result.row.name}${failuresOf(result)}`,
      );
      if (options.quick && performance.now() - startedAt > QUICK_LIMIT_MS) break;
    }
    const { rounds, seconds, quick } = options;
    const leftOut = rows.slice(results.length).map(({ name }) => name);
    const run: Run = { format: 1, facts, columns: [...names], rounds, seconds, quick, results, leftOut };
    const written = write(join(options.out, "vs-ray"), run);
    const growth = growthOf(results, names);
    const text = [tableOf(results, names), ...growth.map(growthText)].join("\n");
    console.log(options.json ? JSON.stringify({ ...run, growth, written }) : text);
    if (leftOut.length > 0) tell(`not measured, the time was over: ${leftOut.join(", ")}`);
    if (options.readme && !stopped) written.push(...writeReadme(join(options.out, ".."), run));
    tell(written.join("\n"));
    if (stopped) return STOPPED_EXIT_CODE;
    return before ? gate(before, results, tell) : 0;
  } finally {
    limits.close();
    for (const signal of STOP_SIGNALS) process.removeListener(signal, stop);
    closing ??= opened.close();
    await closing;
  }
}

function chosen({ rows, quick }: VsRayOptions): RowSpec[] {
  const wanted = (row: RowSpec): boolean =>
    rows.length === 0 || rows.some((part) => row.id.includes(part) || row.name.includes(part));
  return ROWS.filter((row) => wanted(row) && !(quick && row.slow && rows.length === 0));
}

function write(out: string, run: Run): string[] {
  mkdirSync(out, { recursive: true });
  const stamp = run.facts.date.replace(/[-:]|\..*/g, "");
  const files: [string, string][] = [
    [`vs-ray-${stamp}.json`, JSON.stringify(run)],
    ["report.html", reportOf(run)],
    ["vs-ray.svg", ratioBars(losersFirst(run.results))],
  ];
  return files.map(([name, text]) => {
    const path = join(out, name);
    writeFileSync(path, text);
    return path;
  });
}

/** The terminal shows a failure when it happens, not at the end alone. */
function failuresOf({ columns }: RowResult): string {
  const failed = Object.entries(columns).flatMap(([name, { error }]) =>
    error === undefined ? [] : [`${name} failed`],
  );
  return failed.length === 0 ? "" : ` (${failed.join(", ")})`;
}

function writeReadme(root: string, run: Run): string[] {
  const [readme, picture] = [join(root, "README.md"), join(root, PICTURE)];
  writeFileSync(readme, withTable(readFileSync(readme, "utf8"), run, PICTURE));
  writeFileSync(picture, ratioBars(losersFirst(run.results)));
  return [readme, picture];
}

function gate(before: Run, results: readonly RowResult[], tell: (line: string) => void): number {
  const fell = regressions(before.results, results);
  for (const each of fell) tell(`regression: ${regressionText(each)}`);
  return fell.length > 0 ? 1 : 0;
}

function minutes(ms: number): string {
  const seconds = Math.round(ms / 1_000);
  return seconds < 90 ? `${seconds} s` : `${Math.round(seconds / 60)} min`;
}
