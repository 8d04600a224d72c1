import { codeLines, type Line, textLines } from "./code-lines.ts";
import type { Finding, Rule } from "./rule.ts";
import { isExcepted } from "./rules-file.ts";

const TYPESCRIPT =
  /\b(?:test|it|describe|suite)(?:\.\w+)*\.(?:only|skip|todo|fails)\b|\b(?:xit|xtest|xdescribe|fit|fdescribe)\s*\(/;
const PYTHON = /@pytest\.mark\.(?:skip|xfail)\b|@unittest\.(?:skip|expectedFailure)\b/;

/** A test that does not run proves nothing. Conditions of the machine (`skipIf`, `pytest.mark.skipif`) may stay. */
export const skippedTests: Rule = (tree, rules) => {
  const findings: Finding[] = [];
  const look = (file: string, lines: Line[], pattern: RegExp): void => {
    for (const { line, text } of lines) {
      const found = pattern.exec(text)?.[0];
      if (found !== undefined) findings.push({ file, line, message: `${found}: run it, or delete it` });
    }
  };
  const isCounted = (file: string): boolean => !isExcepted(file, rules.skippedTests);
  for (const file of tree.paths(".test.ts", ".test-d.ts").filter(isCounted)) {
    look(file, codeLines(tree.tokens(file)), TYPESCRIPT);
  }
  for (const file of tree.paths(".py").filter((path) => /(^|\/)test_[^/]*$/.test(path) && isCounted(path))) {
    look(file, textLines(tree.text(file)), PYTHON);
  }
  return findings;
};
