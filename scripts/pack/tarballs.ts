import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join, relative } from "node:path";
import { type Outcome, showEnd, type Workbench } from "../stages/stage.ts";
import { bundlePackage } from "./bundles.ts";

const BUILD_DEADLINE_MS = 10 * 60_000;
const PACK_DEADLINE_MS = 3 * 60_000;

/** Builds every package and packs it as it would be published: pnpm writes publishConfig, workspace: and catalog: out. */
export async function packAll(bench: Workbench, folder: string): Promise<{ tarballs: string[]; outcome: Outcome }> {
  mkdirSync(folder, { recursive: true });
  const homes = readdirSync(join(bench.root, "packages")).map((name) => join(bench.root, "packages", name));
  for (const home of homes) dropStale(home);
  const build = await bench.tool({ file: "tsc", args: ["-b"], deadlineMs: BUILD_DEADLINE_MS });
  if (build.code !== 0) return { tarballs: [], outcome: failure(`tsc -b\n${showEnd(build)}`) };
  for (const home of homes) await bundlePackage(home);
  const pack = await bench.tool({
    file: "npx",
    args: ["--yes", "pnpm@12", "--recursive", "--filter", "./packages/*", "pack", "--pack-destination", folder],
    deadlineMs: PACK_DEADLINE_MS,
  });
  if (pack.code !== 0) return { tarballs: [], outcome: failure(`pnpm pack\n${showEnd(pack)}`) };
  const tarballs = readdirSync(folder).map((name) => join(folder, name));
  return { tarballs, outcome: { passed: 1, failed: 0, output: "" } };
}

export function failure(output: string): Outcome {
  return { passed: 0, failed: 1, output };
}

/** `tsc -b` leaves the output of deleted and renamed sources where it is; it would be published. */
function dropStale(home: string): void {
  const [sources, built] = [join(home, "src"), join(home, "dist")].map(filesBelow);
  for (const path of staleOutputs(sources ?? [], built ?? [])) rmSync(join(home, "dist", path));
}

/** Which files of `dist` no file of `src` makes. Paths are relative to these folders. */
export function staleOutputs(sources: readonly string[], built: readonly string[]): string[] {
  const made = new Set(sources.map((path) => path.replace(/\.ts$/, "")));
  return built.filter((path) => {
    const stem = /^(.+?)(?:\.d\.ts|\.js)(?:\.map)?$/.exec(path)?.[1];
    return stem !== undefined && !made.has(stem);
  });
}

/** Files below a folder, relative to it; none when it does not exist. */
export function filesBelow(folder: string): string[] {
  if (!existsSync(folder)) return [];
  const entries = readdirSync(folder, { withFileTypes: true, recursive: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => relative(folder, join(entry.parentPath, entry.name)));
}
