import type { Token } from "./tokens.ts";

/** One module that a file names. */
export interface Import {
  specifier: string;
  line: number;
  /** `import type`: erased before the program runs. */
  typeOnly: boolean;
  /** `new URL("…", import.meta.url)`: a path, not a module. */
  url: boolean;
}

const STATIC = /(?:^|[\s;}])(?:import|export)\b[^;]*?\bfrom\s*$|(?:^|[\s;}])import\s*$/;
const DYNAMIC = /\b(?:import|require|import\.meta\.resolve)\s*\(\s*$/;
const URL_OF = /\bnew URL\s*\(\s*$/;
const TYPE_ONLY = /\b(?:import|export)\s+type\b(?!\s*from\b)[^;]*$/;

/** Every module or path that the tokens of a file import: static, dynamic, `require`, and `new URL(…, import.meta.url)`. */
export function importsOf(tokens: Token[]): Import[] {
  const found: Import[] = [];
  let before = "";
  tokens.forEach((token, index) => {
    if (token.kind === "code") before += token.text;
    if (token.kind === "string" || (token.kind === "template" && !startsExpression(tokens, index))) {
      const url = URL_OF.test(before) && /^\s*,\s*import\.meta\.url/.test(tokens[index + 1]?.text ?? "");
      if (url || STATIC.test(before) || DYNAMIC.test(before)) {
        const typeOnly = TYPE_ONLY.test(lastStatement(before));
        found.push({ specifier: token.text, line: token.line, typeOnly, url });
      }
      before = '""';
    }
  });
  return found;
}

/** A template with `${…}` in it names no fixed module. */
function startsExpression(tokens: Token[], index: number): boolean {
  return tokens.slice(index + 1, index + 3).some((token) => token.kind === "template");
}

function lastStatement(code: string): string {
  const start = Math.max(code.lastIndexOf("import"), code.lastIndexOf("export"));
  return start < 0 ? "" : code.slice(start);
}

/** `@whipray/rpc/x` → `@whipray/rpc`; `ws/lib/y` → `ws`; undefined for paths and `node:` modules. */
export function packageNameOf(specifier: string): string | undefined {
  if (/^(?:\.|\/|node:|#|data:|file:|https?:)/.test(specifier) || specifier === "") return undefined;
  return specifier
    .split("/")
    .slice(0, specifier.startsWith("@") ? 2 : 1)
    .join("/");
}
