import { BANS } from "./bans.ts";
import { codeLines } from "./code-lines.ts";
import { importsOf } from "./imports.ts";
import type { Finding, Rule } from "./rule.ts";
import { isExcepted, matches } from "./rules-file.ts";

const SOURCE = "packages/*/src/**";

/** Time, chance, files, processes and sockets come in through interfaces: only listed files touch the real ones. */
export const banned: Rule = (tree, rules) => {
  const findings: Finding[] = [];
  for (const file of tree.paths(".ts").filter((path) => matches(path, SOURCE))) {
    const lines = codeLines(tree.tokens(file));
    const imports = importsOf(tree.tokens(file)).filter(({ typeOnly, url }) => !typeOnly && !url);
    for (const { name, call, modules = [], instead } of BANS) {
      if (isExcepted(file, rules.banned[name])) continue;
      const advice = `${instead}, or list the file in tidy.json under banned.${name} with a reason`;
      for (const { line, text } of lines) {
        const found = call?.exec(text)?.[0];
        if (found !== undefined) findings.push({ file, line, message: `${found}: ${advice}` });
      }
      for (const { specifier, line } of imports) {
        const isBanned = modules.some((module) => specifier === module || `node:${specifier}` === module);
        if (isBanned) findings.push({ file, line, message: `import of "${specifier}": ${advice}` });
      }
    }
  }
  return findings;
};
