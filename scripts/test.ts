// `npm test [-- stage …]`: every check of the project, in order. The last line is "N passed, N failed".
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { STAGES } from "./stages/all.ts";
import { afterRun, beforeRun, RUN_VARIABLE } from "./stages/leftovers.ts";
import type { Outcome, Workbench } from "./stages/stage.ts";
import { endTools, runTool } from "./stages/tool.io.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !STAGES.some((stage) => stage.name === name));
if (unknown.length > 0) {
  console.error(`no stage ${unknown.join(", ")}; there are ${STAGES.map((stage) => stage.name).join(", ")}`);
  process.exit(2);
}

// Short, since unix sockets live below it (107 bytes are all that Linux allows). Temporary files and runtime directories of
// the run go here, so that two runs on one machine do not find each other's.
const scratch = mkdtempSync("/tmp/wt-");
const places = { temporary: `${scratch}/t`, runtime: `${scratch}/r` };
for (const path of Object.values(places)) mkdirSync(path, { mode: 0o700 });
const run = randomBytes(6).toString("hex");
const environment = {
  ...process.env,
  [RUN_VARIABLE]: run,
  TMPDIR: places.temporary,
  XDG_RUNTIME_DIR: places.runtime,
};
const bench: Workbench = {
  root,
  scratch,
  tool: (command) => runTool({ cwd: root, ...command, env: { ...environment, ...command.env } }),
};

let stopped: NodeJS.Signals | undefined;
for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(name, () => {
    stopped = name;
    endTools();
  });
}

const total = { passed: 0, failed: 0 };
function report(name: string, startedAt: number, { passed, failed, output, note }: Outcome): void {
  total.passed += passed;
  total.failed += failed;
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  if (failed > 0) console.log(`\n──── ${name} ────\n${output.trimEnd()}\n`);
  const mark = failed > 0 ? "✗" : passed > 0 ? "✓" : "-";
  const counts = `${passed} passed, ${failed} failed${note === undefined ? "" : `, ${note}`}`;
  console.log(`${mark} ${name.padEnd(12)}${seconds.padStart(7)} s  ${counts}`);
}

const check = beforeRun(places, process.env["CI"] === "true");
for (const stage of STAGES.filter(({ name }) => wanted.length === 0 || wanted.includes(name))) {
  const startedAt = performance.now();
  const outcome = await stage.run(bench);
  if (stopped !== undefined) break;
  report(stage.name, startedAt, outcome);
}
const startedAt = performance.now();
report("leftovers", startedAt, await afterRun(check, run));
rmSync(scratch, { recursive: true, force: true });

if (stopped !== undefined) console.log(`stopped by ${stopped}`);
console.log(`\n${total.passed} passed, ${total.failed} failed`);
process.exitCode = stopped !== undefined ? 130 : total.failed > 0 ? 1 : 0;
