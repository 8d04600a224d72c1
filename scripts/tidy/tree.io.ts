import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Tree } from "./tree.ts";

const SKIPPED_FOLDERS = new Set([
  "node_modules",
  "dist",
  ".git",
  ".venv",
  "out",
  "coverage",
  "__pycache__",
  ".pytest_cache",
]);
const TEXT =
  /\.(ts|mts|mjs|cjs|js|py|json|jsonc|md|yaml|yml|toml|sh|txt|html|css)$|^(run|LICENSE|\.gitignore|\.oxlintrc)$/;

/** Reads every text file of a working tree that is source: nothing installed, built or generated. */
export function readTree(root: string): Tree {
  const texts: [string, string][] = [];
  const walk = (folder: string): void => {
    for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
      const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
      if (entry.isDirectory()) {
        if (!SKIPPED_FOLDERS.has(entry.name)) walk(path);
      } else if (entry.isFile() && TEXT.test(entry.name) && path !== "pnpm-lock.yaml") {
        texts.push([path, readFileSync(join(root, path), "utf8")]);
      }
    }
  };
  walk("");
  return new Tree(texts, root);
}
