/** What a specifier may follow: `from`, `import`, `import(`, `require(`. */
const RELATIVE = /\b(?:from|import|require)\s*(?:\(\s*)?(["'])(\.{1,2}\/[^"'\n]+)\1/g;
/** Gone before the module runs. */
const TYPES_ALONE =
  /\b(?:import|export)\s+type\s+(?:\{[^{}]*\}|\*(?:\s+as\s+[\w$]+)?|[\w$]+)\s*from\s*(["'])[^"'\n]*\1/g;

/**
 * The relative specifiers (`./x.ts`, `../y.js`) that a JavaScript or TypeScript source imports, requires or exports from, each once, in
 * their order. One in a comment may be among them; one that is put together at run time is not.
 */
export function relativeImports(source: string): string[] {
  const found = source.replace(TYPES_ALONE, "").matchAll(RELATIVE);
  return [...new Set(Array.from(found, ([, , specifier]) => specifier as string))];
}
