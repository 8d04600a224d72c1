import { execFileSync } from "node:child_process";
import { accessSync, constants, existsSync, mkdirSync, realpathSync, symlinkSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import { RUN_VARIABLE } from "./leftovers.ts";
import { type Outcome, type Stage, showEnd, type Workbench } from "./stage.ts";

/** All downloads, and the demo's own 90 s; a loaded machine gets much more. */
const DEADLINE_MS = 6 * 60_000;
const CLONE_DEADLINE_MS = 60_000;
/** What a stranger's machine has beside Node, npm and python3. */
const SYSTEM_TOOLS = [
  "sh",
  "env",
  "git",
  "cat",
  "chmod",
  "cp",
  "dirname",
  "ln",
  "ls",
  "mkdir",
  "mv",
  "readlink",
  "rm",
  "sed",
  "uname",
];
/** How this machine reaches the network is not the stranger's choice. */
const NETWORK_VARIABLE =
  /proxy$|cert|_ca_|cainfo|registry$|^pip_(index_url|extra_index_url|find_links|default_timeout)$/i;

/**
 * `npm run demo` as a stranger starts it: a fresh clone of what is committed, an empty HOME and with it empty caches, nothing in PATH but
 * the machine's own Node and npm, python3 and a few tools of the system.
 */
export const stranger: Stage = {
  name: "stranger",
  async run(bench) {
    if (!existsSync(join(bench.root, ".git"))) {
      return { passed: 0, failed: 0, output: "", note: "skipped: no git checkout, so nothing to clone" };
    }
    const folder = join(bench.scratch, "s");
    const [bin, home, clone] = ["bin", "home", "whipray"].map((name) => join(folder, name)) as [string, string, string];
    for (const path of [bin, home]) mkdirSync(path, { recursive: true, mode: 0o700 });
    const node = furnish(bin, outside(bench.root));
    const cloned = await bench.tool({
      ...{ file: "git", args: ["clone", "--quiet", "--depth=1", `file://${bench.root}`, clone] },
      deadlineMs: CLONE_DEADLINE_MS,
    });
    if (cloned.code !== 0) return { passed: 0, failed: 1, output: `git clone\n${showEnd(cloned)}` };
    const end = await inside(bench, { HOME: home, PATH: bin }, clone);
    const [passed, output] =
      end.code === 0 && demoWentWell(end.output)
        ? [1, ""]
        : [0, `npm run demo -- --json, Node ${node}\n${showEnd(end)}`];
    return { passed, failed: 1 - passed, output, note: `Node ${node}` } satisfies Outcome;
  },
};

/** Where registries are, when files of the user's say so: settings, not caches. */
function registries(): Record<string, string> {
  const found = (names: string[]): string | undefined => names.map((name) => join(homedir(), name)).find(existsSync);
  const [npm, pip] = [found([".npmrc"]), found([".config/pip/pip.conf", ".pip/pip.conf"])];
  return { ...(npm && { npm_config_userconfig: npm }), ...(pip && { PIP_CONFIG_FILE: pip }) };
}

/** Runs the demo with this environment and no other. */
function inside(bench: Workbench, own: Record<string, string>, cwd: string) {
  const kept = Object.entries(process.env).filter(([name]) => NETWORK_VARIABLE.test(name));
  const variables = Object.entries({ ...Object.fromEntries(kept), ...registries(), ...own }).map(
    ([name, value]) => `${name}=${value}`,
  );
  // What the run is known by reaches `env` and must pass it.
  const marks = ["TMPDIR", "XDG_RUNTIME_DIR", RUN_VARIABLE].map((name) => `${name}="$${name}"`);
  const script = `exec env -i ${marks.join(" ")} "$@"`;
  const args = ["-c", script, "sh", ...variables, "npm", "run", "demo", "--", "--json"];
  return bench.tool({ file: "sh", args, cwd, deadlineMs: DEADLINE_MS });
}

/** The demo's last line of stdout is its result; lines of stderr come between. */
function demoWentWell(output: string): boolean {
  const line = output.split("\n").findLast((one) => one.startsWith("{"));
  const { leftovers, accuracyAfter } = JSON.parse(line ?? "{}") as { leftovers?: number; accuracyAfter?: number };
  return leftovers === 0 && accuracyAfter !== undefined;
}

/** PATH without what this working tree put there. */
function outside(root: string): string[] {
  return (process.env["PATH"] ?? "").split(delimiter).filter((folder) => folder !== "" && !folder.startsWith(root));
}

/** Fills the stranger's PATH; answers its Node's version. @throws Error naming what the machine lacks */
function furnish(bin: string, path: string[]): string {
  const find = (name: string): string => {
    const found = path.map((folder) => join(folder, name)).find(isExecutable);
    if (found === undefined) throw new Error(`this machine has no ${name} beside the project's own`);
    return realpathSync(found);
  };
  for (const name of [...SYSTEM_TOOLS, "node", "npm", "npx"]) symlinkSync(find(name), join(bin, name));
  // Through its own path: an interpreter finds its library beside itself, and what is in PATH may be a shim.
  const asked = ["-c", "import sys; print(sys._base_executable)"];
  const python = execFileSync("python3", asked, {
    env: { ...process.env, PATH: path.join(delimiter) },
    encoding: "utf8",
  });
  writeFileSync(join(bin, "python3"), `#!/bin/sh\nexec '${python.trim()}' "$@"\n`, { mode: 0o755 });
  return execFileSync(join(bin, "node"), ["--version"], { encoding: "utf8" }).trim();
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
