import type { Rule } from "./rule.ts";
import { matches } from "./rules-file.ts";

/** One noun a file: a file that outgrew the limit holds two. */
export const lines: Rule = (tree, rules) =>
  tree
    .paths(".ts", ".mts", ".mjs", ".cjs", ".js", ".py", ".sh", ".html", ".css", "/run")
    .filter((file) => !rules.lines.ignore.some((glob) => matches(file, glob)))
    .map((file) => ({ file, count: tree.text(file).replace(/\n$/, "").split("\n").length }))
    .filter(({ count }) => count > rules.lines.limit)
    .map(({ file, count }) => ({
      file,
      message: `${count} lines, the limit is ${rules.lines.limit}: split it by what it speaks of`,
    }));
