import { BANS } from "./bans.ts";
import type { Finding, Rule } from "./rule.ts";
import { matches } from "./rules-file.ts";

/** tidy.json itself: every exception says why, names a rule that exists and a file that is still there. */
export const exceptions: Rule = (tree, rules) => {
  const findings: Finding[] = [];
  const add = (message: string): void => void findings.push({ file: "tidy.json", message });
  const known = new Set(BANS.map((ban) => ban.name));
  const lists = Object.entries(rules.banned).map(([name, list]) => [`banned.${name}`, list] as const);
  for (const name of Object.keys(rules.banned))
    if (!known.has(name)) add(`banned.${name}: no such ban in scripts/tidy/bans.ts`);
  for (const [name, list] of [
    ...lists,
    ["pathImports", rules.pathImports] as const,
    ["skippedTests", rules.skippedTests] as const,
    ["machinePaths", rules.machinePaths.exceptions] as const,
  ]) {
    for (const { files, reason } of list) {
      if (!reason) add(`${name}: ${files} has no reason`);
      if (!tree.paths().some((path) => matches(path, files))) add(`${name}: ${files} matches no file; remove it`);
    }
  }
  return findings;
};
