import type { Tree } from "./tree.ts";

const IMPORT = /^\s*(?:from\s+([A-Za-z_]\w*)[\w.]*\s+import\b|import\s+([A-Za-z_]\w*))/;

/** Modules that a Python file imports by their absolute name, without what lies inside of them. */
export function pythonImports(text: string): { module: string; line: number }[] {
  return text.split("\n").flatMap((row, index) => {
    const [, from, plain] = IMPORT.exec(row) ?? [];
    const module = from ?? plain;
    return module === undefined ? [] : [{ module, line: index + 1 }];
  });
}

/** Where the tree's own Python modules live: the folder in `packages/` by module; what tests bring along is nobody else's. */
export function pythonModules(tree: Tree): Map<string, string> {
  const found = tree.paths(".py").map((path) => /^packages\/([^/]+)\/python\/(?!tests\/)(\w+)/.exec(path));
  return new Map(found.flatMap((match) => (match ? [[match[2]!, match[1]!] as const] : [])));
}
