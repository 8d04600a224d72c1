import type { TidyRules } from "./rules-file.ts";
import type { Tree } from "./tree.ts";

/** One place where the tree breaks a rule. */
export interface Finding {
  /** Path from the root of the tree. */
  file: string;
  /** Counted from 1; absent when the whole file is meant. */
  line?: number;
  /** What is wrong and what to do. */
  message: string;
}

/** A rule looks at the whole tree and at tidy.json; it is pure, so a test can hand it a tree of three lines. */
export type Rule = (tree: Tree, rules: TidyRules) => Finding[];
