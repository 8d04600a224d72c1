import { arrows } from "./arrows.ts";
import { banned } from "./banned.ts";
import { dependencies } from "./dependencies.ts";
import { exceptions } from "./exceptions.ts";
import { lines } from "./lines.ts";
import { machinePaths } from "./machine-paths.ts";
import { markers } from "./markers.ts";
import { packageTables } from "./package-tables.ts";
import { promises } from "./promises.ts";
import type { Finding, Rule } from "./rule.ts";
import { readRules } from "./rules-file.ts";
import { skippedTests } from "./skipped-tests.ts";
import type { Tree } from "./tree.ts";

/** Every rule by its name. */
export const RULES: Record<string, Rule> = {
  lines,
  arrows,
  banned,
  exceptions,
  markers,
  "skipped-tests": skippedTests,
  "machine-paths": machinePaths,
  "package-tables": packageTables,
  dependencies,
  promises,
};

/** All findings of the named rules (all rules by default), in the rules' order. */
export function tidy(tree: Tree, names: string[] = Object.keys(RULES)): (Finding & { rule: string })[] {
  const rules = readRules(tree);
  return names.flatMap((rule) => (RULES[rule]?.(tree, rules) ?? []).map((finding) => ({ ...finding, rule })));
}
