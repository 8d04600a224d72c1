import { cpSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { publint } from "publint";
import { formatMessage } from "publint/utils";
import { type Outcome, showEnd, type Workbench } from "../stages/stage.ts";
import { faultsOf } from "./published.ts";
import { failure, filesBelow } from "./tarballs.ts";

const INSTALL_DEADLINE_MS = 5 * 60_000;
const TOOL_DEADLINE_MS = 60_000;
/** P17: what a machine downloads of ours before its first cluster. */
const TARBALLS_LIMIT_BYTES = 5_000_000;
const APP = new URL("./fixtures/app/", import.meta.url);
const QUIET = { npm_config_update_notifier: "false", npm_config_fund: "false", npm_config_audit: "false" };

/** Makes an app outside the working tree and installs the tarballs into it with npm, as a user would. */
export async function installApp(bench: Workbench, app: string, tarballs: string[]): Promise<Outcome> {
  cpSync(APP, app, { recursive: true });
  const args = ["install", "--prefer-offline", "--no-progress", ...tarballs];
  const end = await bench.tool({ file: "npm", args, cwd: app, env: QUIET, deadlineMs: INSTALL_DEADLINE_MS });
  if (end.code !== 0) return failure(`npm ${args.join(" ")}\n${showEnd(end)}`);
  const packed = bytesOf(tarballs);
  const modules = join(app, "node_modules");
  const note = `tarballs ${megabytes(packed)}, node_modules ${megabytes(bytesOf(filesBelow(modules).map((path) => join(modules, path))))}`;
  if (packed > TARBALLS_LIMIT_BYTES) return failure(`the tarballs are too big: ${note}`);
  return { passed: 1, failed: 0, output: "", note };
}

/** Looks at every installed package of ours: its files, its manifest, publint's rules. */
export async function lintPackages(app: string, tarballs: readonly string[]): Promise<Outcome> {
  const faults: string[] = [];
  for (const name of packageNames(app, tarballs.length)) {
    const folder = join(app, "node_modules", name);
    const manifest = readFileSync(join(folder, "package.json"), "utf8");
    const files = filesBelow(folder).filter((path) => !path.startsWith("node_modules/"));
    const { messages, pkg } = await publint({ pkgDir: folder, strict: true, pack: false });
    const told = messages.map((message) => `${name}: ${formatMessage(message, pkg, { color: false })}`);
    faults.push(...faultsOf({ name, files, manifest }), ...told);
  }
  return faults.length > 0 ? failure(faults.join("\n")) : { passed: 1, failed: 0, output: "" };
}

/** What npm wrote down: exactly the packages that were given. */
function packageNames(app: string, count: number): string[] {
  const { dependencies } = JSON.parse(readFileSync(join(app, "package.json"), "utf8")) as {
    dependencies: Record<string, string>;
  };
  const names = Object.keys(dependencies);
  if (names.length !== count) throw new Error(`${count} tarballs, but the app depends on ${names.join(", ")}`);
  return names;
}

/** Bundles the app's program with whipray external, and compiles its typed one against the installed declarations. */
export async function buildApp(bench: Workbench, app: string): Promise<Outcome[]> {
  const compilerOptions = {
    ...{ target: "esnext", lib: ["esnext"], module: "nodenext", strict: true, noEmit: true },
    ...{ exactOptionalPropertyTypes: true, erasableSyntaxOnly: true, allowImportingTsExtensions: true },
    ...{ types: ["node"], typeRoots: [join(bench.root, "node_modules/@types")], skipLibCheck: false },
  };
  writeFileSync(join(app, "tsconfig.json"), JSON.stringify({ compilerOptions, include: ["*.ts"] }));
  const bundle = ["--bundle", "--platform=node", "--format=esm", "--external:whipray", "--log-level=warning"];
  const tools: [string, string[]][] = [
    ["tsc", ["-p", app]],
    ["esbuild", ["bundle-source.js", ...bundle, "--outfile=bundled.js"]],
  ];
  const outcomes: Outcome[] = [];
  for (const [file, args] of tools) {
    const end = await bench.tool({
      file: join(bench.root, "node_modules/.bin", file),
      args,
      cwd: app,
      deadlineMs: TOOL_DEADLINE_MS,
    });
    outcomes.push(end.code === 0 ? { passed: 1, failed: 0, output: "" } : failure(`${file}\n${showEnd(end)}`));
  }
  return outcomes;
}

/** Brings another Node from npm; the package with the binary has no install script. Resolves to the folder of `node`. */
export async function installNode(bench: Workbench, folder: string, version: string): Promise<string> {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "package.json"), JSON.stringify({ private: true }));
  const name = `node-${process.platform}-${process.arch}`;
  const args = ["install", "--prefer-offline", "--no-progress", `${name}@${version}`];
  const end = await bench.tool({ file: "npm", args, cwd: folder, env: QUIET, deadlineMs: INSTALL_DEADLINE_MS });
  if (end.code !== 0) throw new Error(`npm ${args.join(" ")}\n${showEnd(end)}`);
  return join(folder, "node_modules", name, "bin");
}

function bytesOf(files: readonly string[]): number {
  return files.reduce((sum, path) => sum + statSync(path).size, 0);
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
