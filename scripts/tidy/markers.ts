import { textLines } from "./code-lines.ts";
import type { Finding, Rule } from "./rule.ts";

const MARKER = /\b(?:TODO|FIXME|XXX|HACK)\b(?!\([\w@./#-]+\))/;

/** A wish in a comment has an owner, `TODO(name)`, or is an issue instead. */
export const markers: Rule = (tree) => {
  const findings: Finding[] = [];
  const look = (file: string, comment: string, firstLine: number): void => {
    for (const { line, text } of textLines(comment)) {
      const found = MARKER.exec(text)?.[0];
      if (found !== undefined)
        findings.push({ file, line: firstLine + line - 1, message: `${found} without an owner` });
    }
  };
  for (const file of tree.paths(".ts", ".mts", ".mjs", ".js")) {
    for (const { kind, text, line } of tree.tokens(file)) if (kind === "comment") look(file, text, line);
  }
  for (const file of tree.paths(".py", ".sh", ".yaml", ".yml", ".toml")) {
    for (const { line, text } of textLines(tree.text(file))) look(file, /#.*/.exec(text)?.[0] ?? "", line);
  }
  return findings;
};
