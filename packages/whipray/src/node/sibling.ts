/** A module beside this one, in whatever form this package runs: `.ts` in development, `.js` when it is installed. */
export function sibling(name: string): URL {
  return new URL(`./${name}${import.meta.url.endsWith(".ts") ? ".ts" : ".js"}`, import.meta.url);
}
