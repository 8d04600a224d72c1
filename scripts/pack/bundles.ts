import { readFileSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import { build, type Plugin } from "esbuild";
import { filesBelow } from "./tarballs.ts";

/** Files that a process, a thread or an actor starts from, by their path: each needs a file of its own in `dist`. */
const STARTED_BY_PATH = /(?:^main|-main\.io|-thread|-entry\.io|-daemon\.io|^rpc-server)\.ts$/;

/** Entries of a package, relative to its `src`: its index, and what is started by path. */
export function entriesOf(sources: readonly string[]): string[] {
  return sources.filter((path) => path === "index.ts" || STARTED_BY_PATH.test(basename(path)));
}

const BUILTIN_IMPORT = /^import \{([^}]*)\} from ("node:[\w/]+");/gm;

/**
 * Takes what a source imports of Node from the module itself. An `import` makes Node read every export, also those that load a part of
 * Node when they are read (`util.diff`, `fs.promises`, `crypto.webcrypto`): 3 ms of the start of each process and thread.
 */
export function builtinsByName(source: string): string {
  return source.replace(BUILTIN_IMPORT, (statement, list: string, module: string) => {
    const names = list.split(",").map((name) => name.trim());
    const values = names.filter((name) => name !== "" && !name.startsWith("type "));
    if (values.length === 0) return statement;
    const lines = "\n".repeat(statement.split("\n").length - 1);
    const taken = values.map((name) => name.replace(" as ", ": ")).join(", ");
    return `const { ${taken} } = process.getBuiltinModule(${module});${lines}`;
  });
}

const builtins: Plugin = {
  name: "builtins by name",
  setup(bundle) {
    bundle.onLoad({ filter: /\.ts$/ }, ({ path }) => ({
      contents: builtinsByName(readFileSync(path, "utf8")),
      loader: "ts",
    }));
  },
};

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
    plugins: [builtins],
    sourcemap: true,
    sourcesContent: false,
    logLevel: "silent",
  });
}
