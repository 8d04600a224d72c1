/**
 * A module of this package that is started by its path, in whatever form the package runs: `.ts` beside its sources in development, `.js`
 * in `dist` when it is installed. `from` is the caller's `import.meta.url`; `name` is without an ending.
 */
export function sibling(name: string, from: string): URL {
  return new URL(`./${name}${from.endsWith(".ts") ? ".ts" : ".js"}`, from);
}
