import { mkdirSync } from "node:fs";
import { delimiter, join } from "node:path";
import { afterRun, beforeRun, RUN_VARIABLE } from "../stages/leftovers.ts";
import { type Outcome, showEnd, type Workbench } from "../stages/stage.ts";

/** A program of the app: its command line and exactly what it says, on standard output and error together. */
export interface Program {
  name: string;
  /** For `sh -c`; `node` and `npx` are those of the version under test. */
  command: string;
  says: RegExp;
}

const whipray = "npx --no-install --loglevel=error whipray";
const OK = /^ok\n$/;

/** All that must work from the installed packages, on every Node that is supported. Whoever prints more than "ok" fails. */
export const PROGRAMS: Program[] = [
  { name: "silent import", command: "node silent-import.js", says: OK },
  { name: "ESM", command: "node esm.js", says: OK },
  { name: "CommonJS", command: "node commonjs.cjs", says: OK },
  { name: "TypeScript", command: "node typed.ts", says: OK },
  { name: "bundle", command: "node bundled.js", says: OK },
  { name: "two clusters", command: "node two-inits.js", says: OK },
  { name: "Python engines", command: "node python-engine.js", says: OK },
  { name: "50 cycles", command: "node --expose-gc cycles.js", says: OK },
  { name: "version", command: `${whipray} --version`, says: /^\d+\.\d+\.\d+\n$/ },
  {
    name: "daemons",
    // The last word is of `rmdir`: the folder of the daemons' state files is there and empty.
    command: `${whipray} start --head --port 0 --json && ${whipray} status --json && ${whipray} stop --json && rmdir -v "$XDG_RUNTIME_DIR"/whipray/daemons`,
    says: /^\{"address":.+\n\{"address":.+"state":"ALIVE".+\n(?:.+\n)*\{"stopped":\[\{.+\}\]\}\n(?:.+\n)*rmdir: .+\n/,
  },
];

const DEADLINE_MS = 5 * 60_000;

/** A Node and the folders that its programs get. */
export interface Bed {
  /** Holds `node`. */
  bin: string;
  app: string;
  /** Empty; short, since unix sockets live below it. */
  scratch: string;
}

/**
 * Runs one program as a stranger's: a home of its own, nothing of this working tree in PATH; nothing of it may stay.
 * @param leaveMs how long after its end something of it may still be there
 */
export async function runProgram(
  bench: Workbench,
  bed: Bed,
  program: Program,
  run: string,
  leaveMs?: number,
): Promise<Outcome> {
  const places = { temporary: join(bed.scratch, "t"), runtime: join(bed.scratch, "r") };
  const home = join(bed.scratch, "h");
  for (const folder of [...Object.values(places), home]) mkdirSync(folder, { recursive: true, mode: 0o700 });
  const path = (process.env["PATH"] ?? "").split(delimiter).filter((folder) => !folder.startsWith(bench.root));
  const env = {
    [RUN_VARIABLE]: run,
    ...{ HOME: home, TMPDIR: places.temporary, XDG_RUNTIME_DIR: places.runtime, npm_config_update_notifier: "false" },
    PATH: [bed.bin, ...path].join(delimiter),
  };
  const check = beforeRun(places, false);
  const end = await bench.tool({
    file: "sh",
    args: ["-c", program.command],
    cwd: bed.app,
    env,
    deadlineMs: DEADLINE_MS,
  });
  const { failed: left, output: leaks } = await afterRun(check, run, leaveMs);
  const passed = end.code === 0 && program.says.test(end.output) && left === 0 ? 1 : 0;
  const said = end.code === 0 && !program.says.test(end.output) ? `said other than ${program.says}:\n` : "";
  const output = `${program.name} on ${bed.bin} $ ${program.command}\n${said}${showEnd(end)}\n${leaks}`;
  return { passed, failed: 1 - passed, output };
}
