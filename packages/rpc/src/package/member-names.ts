import { WhiprayError } from "@whipray/core";

/** Characters of a member's path, and UTF-8 bytes of one name in it (Linux: NAME_MAX). */
export const MEMBER_PATH_LIMIT = 1_024;
export const MEMBER_NAME_LIMIT_BYTES = 255;

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
const FORBIDDEN = /[\u0000-\u001f\u007f\\]/;

/** What is wrong with a path of a package's member; undefined for one that stays below its folder on every system. Pure. */
export function memberProblem(path: string): string | undefined {
  if (path.length === 0 || path.length > MEMBER_PATH_LIMIT) return `must have 1 to ${MEMBER_PATH_LIMIT} characters`;
  if (FORBIDDEN.test(path)) return "has a control character or a backslash";
  if (path.startsWith("/") || /^[A-Za-z]:/.test(path)) return "is absolute";
  for (const name of path.split("/")) {
    if (name === "" || name === "." || name === "..") return `has the name ${JSON.stringify(name)} in it`;
    if (Buffer.byteLength(name) > MEMBER_NAME_LIMIT_BYTES) return `has a name of over ${MEMBER_NAME_LIMIT_BYTES} bytes`;
  }
  return undefined;
}

/**
 * Checks the paths of a package's members together: each by itself, and that no two would be one file, or one a folder of the other, where
 * case does not count.
 * @throws WhiprayError `UNSAFE_ARCHIVE` naming the member (reliability B29).
 */
export function checkMemberNames(paths: readonly string[]): void {
  const files = new Set<string>();
  const folders = new Set<string>();
  for (const path of paths) {
    const problem = memberProblem(path);
    if (problem) throw unsafe(problem, path);
    const key = path.normalize("NFC").toLowerCase();
    if (files.has(key) || folders.has(key)) throw unsafe("is there twice, or is a file and a folder", path);
    files.add(key);
    for (let slash = key.indexOf("/"); slash > 0; slash = key.indexOf("/", slash + 1)) {
      const folder = key.slice(0, slash);
      if (files.has(folder)) throw unsafe("lies in a folder that is a file", path);
      folders.add(folder);
    }
  }
}

export function unsafe(problem: string, member?: string): WhiprayError {
  const shown = member === undefined ? "a package" : `member ${JSON.stringify(member.slice(0, 200))} of a package`;
  return new WhiprayError({
    code: "UNSAFE_ARCHIVE",
    message: `${shown} ${problem}; nothing of it was unpacked`,
    details: { ...(member !== undefined && { member: member.slice(0, 200) }), problem },
  });
}
