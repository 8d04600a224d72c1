// `npm run bench -- …`: measures what users get. The packages are packed and installed with npm into out/bench/app, unless nothing changed since
// the last time, and the benchmarks run there.
import { spawn } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { marked } from "../benchmarks/src/marked.ts";
import { inputsHash, stampMatches, writeStamp } from "./bootstrap/stamp.mjs";
import { filesBelow, packAll } from "./pack/tarballs.ts";
import { showEnd, type ToolEnd, type Workbench } from "./stages/stage.ts";
import { runTool } from "./stages/tool.io.ts";

const INSTALL_DEADLINE_MS = 5 * 60_000;

/** What the first program of a user does; Node keeps the compiled code of what ran. */
const FIRST_START = `
const { init } = await import("whipray");
await using cluster = await init();
const counter = await cluster.actor(new URL("src/counter.ts", "file://" + process.cwd() + "/"), "Counter").create();
await counter.add(1);
await new Promise((resolve) => setTimeout(resolve, 1_000));
`;

const root = fileURLToPath(new URL("..", import.meta.url));
const home = join(root, "out/bench");
const app = join(home, "app");
const stamp = join(app, "node_modules/.bench-stamp");
const bench: Workbench = {
  root,
  scratch: home,
  tool: (command) => runTool({ cwd: root, env: process.env, ...command }),
};

const inputs = [...sourcesOf("packages"), ...sourcesOf("scripts/pack"), "pnpm-lock.yaml", "tsconfig.base.json"];
const hash = inputsHash(
  inputs.map((path) => join(root, path)),
  [process.version, process.arch],
);
const fresh = !stampMatches(stamp, hash);
if (fresh) {
  process.stderr.write("packing and installing the packages …\n");
  await install();
  writeStamp(stamp, hash);
}
for (const folder of ["src", "engines", "ray"]) {
  rmSync(join(app, folder), { recursive: true, force: true });
  cpSync(join(root, "benchmarks", folder), join(app, folder), { recursive: true });
}
if (fresh) {
  // The first start ever compiles all modules; what people wait for each time comes after it.
  const args = ["--input-type=module", "-e", FIRST_START];
  const first = await bench.tool({ file: process.execPath, args, cwd: app, deadlineMs: INSTALL_DEADLINE_MS });
  if (first.code !== 0) throw new Error(`the first start failed\n${showEnd(first)}`);
}
// Everything that a benchmark starts has the folder in its environment, daemons and Ray's processes too: however it ends, killed or not, nobody stays.
const folder = mkdtempSync(join(tmpdir(), "wb"));
const child = spawn(process.execPath, [join(app, "src/main.ts"), ...process.argv.slice(2)], {
  stdio: "inherit",
  cwd: root,
  env: { ...process.env, WHIPRAY_BENCH_FOLDER: folder },
});
for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(name, () => child.kill(name));
child.on("exit", (code, signal) => {
  process.exitCode = signal === null ? (code ?? 1) : 1;
  const left = marked([`WHIPRAY_BENCH_FOLDER=${folder}`]);
  if (left.length > 0) console.error(`killing what was left: ${left.join(", ")}`);
  for (const pid of left) process.kill(pid, "SIGKILL");
  rmSync(folder, { recursive: true, force: true });
});

/** Source files of a folder, relative to the root. */
function sourcesOf(folder: string): string[] {
  const made = /(^|\/)(node_modules|dist|test|tests|__pycache__)\//;
  const files = filesBelow(join(root, folder)).filter((file) => !made.test(file));
  return files.map((file) => join(folder, file)).sort();
}

async function install(): Promise<void> {
  rmSync(home, { recursive: true, force: true });
  const { tarballs, outcome } = await packAll(bench, join(home, "tarballs"));
  if (outcome.failed > 0) throw new Error(outcome.output);
  mkdirSync(app, { recursive: true });
  writeFileSync(join(app, "package.json"), JSON.stringify({ private: true, type: "module" }));
  const quiet = ["--no-audit", "--no-fund", "--no-progress", "--prefer-offline"];
  const args = ["install", ...quiet, ...tarballs];
  const end: ToolEnd = await bench.tool({ file: "npm", args, cwd: app, deadlineMs: INSTALL_DEADLINE_MS });
  if (end.code !== 0) throw new Error(`npm ${args.join(" ")}\n${showEnd(end)}`);
}
