import { textLines } from "./code-lines.ts";
import type { Finding, Rule } from "./rule.ts";
import type { Tree } from "./tree.ts";

const FILE = "docs/promises.md";
const SEPARATOR = " › ";
const EXPECTED = [...range(1, 7).map((n) => `D${n}`), ...range(1, 20).map((n) => `P${n}`)];

/**
 * docs/promises.md has one row for each promise, and each row names the test that proves it, as
 * `` `path/to/file › test name` ``, or says "not yet". A named test exists.
 */
export const promises: Rule = (tree) => {
  if (!tree.has(FILE)) return [{ file: FILE, message: "is missing" }];
  const findings: Finding[] = [];
  const seen = new Set<string>();
  for (const { line, text } of textLines(tree.text(FILE))) {
    const id = /^\|\s*([DP]\d+)\s*\|/.exec(text)?.[1];
    if (id === undefined) continue;
    const add = (message: string): void => void findings.push({ file: FILE, line, message: `${id}: ${message}` });
    if (seen.has(id)) add("has two rows");
    seen.add(id);
    const spans = [...text.matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? "");
    const named = spans.filter((span) => span.includes(SEPARATOR));
    if (named.length === 0 && !/\|\s*not yet\b/.test(text)) add('names no test; write "not yet" or `file › test name`');
    for (const name of named) {
      const why = missing(tree, name);
      if (why !== undefined) add(why);
    }
  }
  for (const id of EXPECTED) if (!seen.has(id)) findings.push({ file: FILE, message: `${id} has no row` });
  return findings;
};

/** Why a named test cannot be found; `file › describe › test` works as well. */
function missing(tree: Tree, name: string): string | undefined {
  const [file = "", ...titles] = name.split(SEPARATOR);
  if (!tree.has(file)) return `${file} does not exist`;
  const isTitle = (title: string): boolean =>
    file.endsWith(".py")
      ? new RegExp(`^\\s*(?:async )?(?:def|class) ${title.replace(/[^\w]/g, "\\$&")}\\b`, "m").test(tree.text(file))
      : tree
          .tokens(file)
          .some(({ kind, text }) => kind !== "code" && kind !== "comment" && unescaped(text) === title) ||
        // A title with a hole in it is a template, which the tokens show in pieces.
        (title.includes("${") && tree.text(file).includes(`\`${title}\``));
  const lost = titles.find((title) => !isTitle(title));
  return lost === undefined ? undefined : `${file} has no test "${lost}"`;
}

function unescaped(text: string): string {
  return text.replace(/\\(["'`\\])/g, "$1");
}

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}
