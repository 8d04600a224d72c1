import { textLines } from "./code-lines.ts";
import type { Finding, Rule } from "./rule.ts";
import { isExcepted } from "./rules-file.ts";

/** A path that exists on one machine only breaks on every other one. */
export const machinePaths: Rule = (tree, rules) => {
  const findings: Finding[] = [];
  const { prefixes, exceptions } = rules.machinePaths;
  const known = [...prefixes, ...(tree.root === "" ? [] : [`${tree.root.replace(/\/$/, "")}/`])];
  const quoted = known.map((prefix) => prefix.replace(/[.+*?^${}()|[\]\\]/g, "\\$&"));
  const pattern = new RegExp(`(?<![\\w.:/$}~*-])(?:${quoted.join("|")})`);
  for (const file of tree.paths().filter((path) => path !== "tidy.json" && !isExcepted(path, exceptions))) {
    for (const { line, text } of textLines(tree.text(file))) {
      const found = pattern.exec(text)?.[0];
      if (found !== undefined) findings.push({ file, line, message: `${found}… exists on one machine only` });
    }
  }
  return findings;
};
