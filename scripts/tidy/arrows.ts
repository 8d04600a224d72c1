import { posix } from "node:path";
import { importsOf, packageNameOf } from "./imports.ts";
import { pythonImports, pythonModules } from "./python-imports.ts";
import type { Finding, Rule } from "./rule.ts";
import { isExcepted } from "./rules-file.ts";
import type { Manifest, Tree } from "./tree.ts";

/** Packages import lower layers only, by package name, by `index.ts` alone, and only what their package.json declares. */
export const arrows: Rule = (tree, rules) => {
  const folders = tree.packageFolders();
  const folderOf = new Map(folders.map((folder) => [tree.manifest(`packages/${folder}`)?.name ?? folder, folder]));
  const layerOf = (folder: string): number => rules.layers.findIndex((layer) => layer.includes(folder));
  const findings: Finding[] = folders
    .filter((folder) => layerOf(folder) < 0)
    .map((folder) => ({ file: "tidy.json", message: `layers: packages/${folder} is in no layer` }));

  /** Why `from` may not use `to`; tests of the top layers may look sideways (a scheduler test wants the testkit). */
  const against = (from: string, to: string, isTest: boolean): string | undefined => {
    if (from === to) return isTest ? undefined : "a package does not import itself by name";
    const [upper, lower] = [layerOf(from), layerOf(to)];
    if (upper < 0 || lower < 0 || lower > upper || (isTest && lower === upper)) return undefined;
    return `${from} → ${to} is against the arrows (${rules.layers.map((layer) => layer.join(", ")).join(" → ")})`;
  };

  for (const folder of folders) {
    const file = `packages/${folder}/package.json`;
    const manifest = tree.manifest(`packages/${folder}`) ?? {};
    for (const [kind, names] of dependenciesOf(manifest)) {
      for (const name of names) {
        const to = folderOf.get(name);
        const why = to === undefined ? undefined : against(folder, to, kind === "devDependencies");
        if (why !== undefined) findings.push({ file, message: `${kind}: ${why}` });
      }
    }
  }

  const pythonHomes = pythonModules(tree);
  for (const file of tree.paths(".py")) {
    const from = packageOf(file)?.slice("packages/".length);
    for (const { module, line } of pythonImports(tree.text(file))) {
      const to = pythonHomes.get(module);
      const why = from === undefined || to === undefined || from === to ? undefined : against(from, to, false);
      if (why !== undefined) findings.push({ file, line, message: `${module}: ${why}` });
    }
  }

  for (const file of tree.paths(".ts", ".mts", ".mjs", ".cjs", ".js")) {
    const home = homeOf(file);
    if (home === undefined) continue;
    const isTest = !file.startsWith(`${home}/src/`);
    for (const { specifier, line, typeOnly, url } of importsOf(tree.tokens(file))) {
      const add = (message: string): void => void findings.push({ file, line, message: `"${specifier}": ${message}` });
      const name = packageNameOf(specifier);
      const target = posix.join(posix.dirname(file), specifier);
      const targetHome = url ? packageOf(target) : homeOf(target);
      if (specifier.startsWith(".") && targetHome !== home && !(url && targetHome === undefined)) {
        if (!isExcepted(file, rules.pathImports)) add("leaves its folder; import the package by its name");
      } else if (name !== undefined && !url) {
        const to = folderOf.get(name);
        if (to !== undefined && specifier !== name && specifier !== `${name}/package.json`) {
          add("a package is entered by its index.ts alone");
        }
        const from = packageOf(file)?.slice("packages/".length);
        const why = from !== undefined && to !== undefined ? against(from, to, isTest) : undefined;
        if (why !== undefined) add(why);
        else if (!isDeclared(tree, home, name, isTest || typeOnly))
          add(`${home}/package.json does not declare ${name}`);
      }
    }
  }
  return findings;
};

function dependenciesOf(manifest: Manifest): [string, string[]][] {
  const kinds = ["dependencies", "devDependencies", "peerDependencies", "optionalDependencies"] as const;
  return kinds.map((kind) => [kind, Object.keys(manifest[kind] ?? {})]);
}

/** Tests, scripts and types may use what the root declares for everybody (vitest, fast-check, @types/node). */
function isDeclared(tree: Tree, home: string, name: string, rootCounts: boolean): boolean {
  const declares = (manifest: Manifest | undefined, kinds: readonly string[]): boolean =>
    dependenciesOf(manifest ?? {}).some(([kind, names]) => kinds.includes(kind) && names.includes(name));
  const shipped = ["dependencies", "peerDependencies", "optionalDependencies"];
  const own = tree.manifest(home);
  if (own?.name === name || declares(own, shipped)) return true;
  if (!rootCounts && !home.startsWith("benchmarks") && !home.startsWith("examples/")) return false;
  return declares(own, ["devDependencies"]) || declares(tree.manifest(""), [...shipped, "devDependencies"]);
}

/** `packages/rpc` of `packages/rpc/src/peer.ts`; undefined elsewhere. */
function packageOf(path: string): string | undefined {
  return /^packages\/[^/]+(?=\/|$)/.exec(path)?.[0];
}

/** The folder that a file may not leave: its package, its example, the packed app, `scripts`, `benchmarks`. Root files have none. */
function homeOf(path: string): string | undefined {
  return (
    packageOf(path) ?? /^(?:examples\/[^/]+|scripts\/pack\/fixtures\/app|benchmarks|scripts)(?=\/|$)/.exec(path)?.[0]
  );
}
