import type { Finding, Rule } from "../tidy/rule.ts";
import type { TidyRules } from "../tidy/rules-file.ts";
import { Tree } from "../tidy/tree.ts";

/** tidy.json of the planted trees: two layers and no exceptions. */
export const PLANTED_RULES: TidyRules = {
  lines: { limit: 400, ignore: ["**/data/**"] },
  layers: [["cli", "testkit"], ["head"], ["core"]],
  pathImports: [],
  banned: {},
  machinePaths: { prefixes: ["/srv/build/"], exceptions: [] },
  skippedTests: [],
};

/** What `rule` says of a tree that has these files; packages without a package.json get a plain one. */
export function findings(rule: Rule, files: Record<string, string>, rules: Partial<TidyRules> = {}): Finding[] {
  const folders = new Set(Object.keys(files).map((path) => /^packages\/([^/]+)\//.exec(path)?.[1]));
  const manifests = [...folders].flatMap((folder) =>
    folder === undefined ? [] : [[`packages/${folder}/package.json`, JSON.stringify(manifest(folder))] as const],
  );
  return rule(new Tree([...manifests, ...Object.entries(files)]), { ...PLANTED_RULES, ...rules });
}

/** `file:line`, for short expectations. */
export function places(found: Finding[]): string[] {
  return found.map(({ file, line }) => (line === undefined ? file : `${file}:${line}`));
}

/** A package that declares every lower one. */
export function manifest(folder: string, dependencies: string[] = ["core", "head"]): object {
  const lower = dependencies.filter((name) => name !== folder);
  return { name: `@x/${folder}`, dependencies: Object.fromEntries(lower.map((name) => [`@x/${name}`, "workspace:*"])) };
}
