import { rmSync } from "node:fs";
import { basename, join } from "node:path";
import { build } from "esbuild";
import { filesBelow } from "./tarballs.ts";

/** Files that a process, a thread or an actor starts from, by their path: each needs a file of its own in `dist`. */
const STARTED_BY_PATH = /(?:^main|-main\.io|-thread|-entry\.io|-daemon\.io|^rpc-server)\.ts$/;

/** Entries of a package, relative to its `src`: its index, and what is started by path. */
export function entriesOf(sources: readonly string[]): string[] {
  return sources.filter((path) => path === "index.ts" || STARTED_BY_PATH.test(basename(path)));
}

/**
 * Makes `dist` of one package: a few files instead of one for each source. A Node process spends a third of a millisecond on every
 * module that it loads, and the start of a cluster and of each worker is what people wait for. Packages stay apart, so that
 * two of them never have a copy each of a third. All files lie in `dist` itself: `new URL("./x", import.meta.url)` means the same
 * in each.
 */
export async function bundlePackage(home: string): Promise<void> {
  const built = join(home, "dist");
  for (const path of filesBelow(built)) if (/\.js(?:\.map)?$/.test(path)) rmSync(join(built, path));
  const source = join(home, "src");
  await build({
    entryPoints: entriesOf(filesBelow(source)).map((path) => join(source, path)),
    outdir: built,
    entryNames: "[name]",
    chunkNames: "[name]-[hash]",
    bundle: true,
    splitting: true,
    packages: "external",
    platform: "node",
    target: "node24",
    format: "esm",
    sourcemap: true,
    sourcesContent: false,
    logLevel: "silent",
  });
}
