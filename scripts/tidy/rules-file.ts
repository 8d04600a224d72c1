import type { Tree } from "./tree.ts";

/** Files that may do what a rule forbids, and why. */
export interface Exception {
  /** A glob from the root: `*` within a folder, `**` over folders. */
  files: string;
  reason: string;
}

/** The content of tidy.json. */
export interface TidyRules {
  lines: { limit: number; ignore: string[] };
  /** Layers of packages (folder names), highest first. A package imports from lower layers only. */
  layers: string[][];
  /** Imports of another package's file by its path. */
  pathImports: Exception[];
  /** By the name of a ban (`bans.ts`). */
  banned: Record<string, Exception[]>;
  /** Starts of paths that exist on one machine only. */
  machinePaths: { prefixes: string[]; exceptions: Exception[] };
  skippedTests: Exception[];
}

/** @throws Error when tidy.json is missing or not JSON */
export function readRules(tree: Tree): TidyRules {
  return JSON.parse(tree.text("tidy.json")) as TidyRules;
}

/** True when one of the exceptions names `path`. */
export function isExcepted(path: string, exceptions: Exception[] = []): boolean {
  return exceptions.some((exception) => matches(path, exception.files));
}

const compiled = new Map<string, RegExp>();

/** `**` crosses folders, `*` does not; everything else is literal. */
export function matches(path: string, glob: string): boolean {
  let pattern = compiled.get(glob);
  if (pattern === undefined) {
    const source = glob
      .replace(/[.+^${}()|[\]\\?]/g, "\\$&")
      .replace(/\*\*\/|\*\*|\*/g, (star) => (star === "*" ? "[^/]*" : star === "**" ? ".*" : "(?:.*/)?"));
    pattern = new RegExp(`^${source}$`);
    compiled.set(glob, pattern);
  }
  return pattern.test(path);
}
