import { WhiprayError } from "@whipray/core";

/** Never packed: what a node has of its own, or nobody runs. */
export const NEVER_PACKED = [".git", "node_modules", ".venv", "venv", "__pycache__", ".DS_Store"] as const;
export const EXCLUDES_LIMIT = 256;
const PATTERN_LIMIT = 256;
/** Wildcards of one pattern: each may double the time that it takes. */
const STARS_LIMIT = 4;

/**
 * Which paths of a directory stay out of its package. A pattern without `/` is a name on any level, one with `/` a path from the root; `*` stands
 * for any characters but `/`, `**` for any. What lies in a folder that stays out stays out too. Pure.
 * @throws WhiprayError `INVALID_ARGUMENT` for a pattern that is no text, too long, or has more than four wildcards.
 */
export function packRules(excludes: readonly string[]): (path: string) => boolean {
  if (!Array.isArray(excludes) || excludes.length > EXCLUDES_LIMIT) {
    throw invalid(`excludes must be a list of at most ${EXCLUDES_LIMIT} patterns`);
  }
  const rules = [...NEVER_PACKED, ...excludes].map(ruleOf);
  return (path) => rules.some((rule) => rule.test(path));
}

function ruleOf(pattern: string): RegExp {
  if (typeof pattern !== "string" || pattern === "" || pattern.length > PATTERN_LIMIT) {
    throw invalid(`a pattern of excludes must be text of 1 to ${PATTERN_LIMIT} characters`);
  }
  const stars = pattern.split(/\*+/).length - 1;
  if (stars > STARS_LIMIT)
    throw invalid(`${JSON.stringify(pattern)} has ${stars} wildcards; the limit is ${STARS_LIMIT}`);
  const plain = pattern.replace(/\/+$/, "");
  const source = plain
    .replace(/^\//, "")
    .split(/(\*+)/)
    .map((part) =>
      part.startsWith("**") ? ".*" : part === "*" ? "[^/]*" : part.replaceAll(/[\\^$.|?+()[\]{}]/g, "\\$&"),
    )
    .join("");
  return new RegExp(plain.includes("/") ? `^${source}$` : `(?:^|/)${source}$`, "s");
}

function invalid(message: string): WhiprayError {
  return new WhiprayError({ code: "INVALID_ARGUMENT", message });
}
