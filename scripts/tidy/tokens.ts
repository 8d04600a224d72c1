/** A stretch of TypeScript source. Rules need to tell code from what only looks like it, and no more. */
export interface Token {
  kind: "code" | "string" | "template" | "comment" | "regex";
  /** For strings and templates the content without quotes, escapes as written. */
  text: string;
  /** Line where the token starts, counted from 1. */
  line: number;
}

/** A `/` after one of these starts a regular expression; after a value it divides. */
const BEFORE_REGEX = /(?:^|[=(,:;[!&|?{}+\-*%~^<>]|=>|\b(?:return|typeof|case|in|of|do|else|void|yield|await))\s*$/;

/** Splits source into tokens. A template's `${…}` parts come out as code of their own. Never throws: the end closes all. */
export function scan(source: string): Token[] {
  const tokens: Token[] = [];
  /** Depth of braces at which each open template goes on. */
  const templates: number[] = [];
  let depth = 0;
  let line = 1;
  let start = 0;
  let at = 0;

  const emit = (kind: Token["kind"], text: string, end: number): void => {
    if (text !== "" || kind !== "code") tokens.push({ kind, text, line });
    for (let i = start; i < end; i++) if (source.charCodeAt(i) === 10) line++;
    start = at = end;
  };
  const flushCode = (): void => emit("code", source.slice(start, at), at);
  const templatePart = (): void => {
    const end = endOfTemplatePart(source, at);
    const opens = source.startsWith("${", end);
    emit("template", source.slice(at, end), Math.min(source.length, end + (opens ? 2 : 1)));
    if (opens) templates.push(depth);
  };

  while (at < source.length) {
    const char = source[at];
    const next = source[at + 1];
    if (char === "/" && (next === "/" || next === "*")) {
      flushCode();
      const end = next === "/" ? indexOrEnd(source, "\n", at) : indexOrEnd(source, "*/", at + 2, 2);
      emit("comment", source.slice(at, end), end);
    } else if (char === '"' || char === "'") {
      flushCode();
      const end = endOfQuoted(source, at + 1, char);
      emit("string", source.slice(at + 1, end), Math.min(source.length, end + 1));
    } else if (char === "`") {
      flushCode();
      at++;
      templatePart();
    } else if (char === "}" && templates.at(-1) === depth) {
      flushCode();
      templates.pop();
      at++;
      templatePart();
    } else if (char === "/" && BEFORE_REGEX.test(source.slice(Math.max(0, at - 40), at))) {
      flushCode();
      const end = endOfRegex(source, at + 1);
      emit("regex", source.slice(at, end), end);
    } else {
      if (char === "{") depth++;
      if (char === "}") depth--;
      at++;
    }
  }
  flushCode();
  return tokens;
}

function indexOrEnd(source: string, what: string, from: number, plus = 0): number {
  const found = source.indexOf(what, from);
  return found < 0 ? source.length : found + plus;
}

/** Index of the closing quote; a line break ends an unclosed string, as it does in the language. */
function endOfQuoted(source: string, from: number, quote: string): number {
  for (let i = from; i < source.length; i++) {
    if (source[i] === "\\") i++;
    else if (source[i] === quote || source[i] === "\n") return i;
  }
  return source.length;
}

function endOfTemplatePart(source: string, from: number): number {
  for (let i = from; i < source.length; i++) {
    if (source[i] === "\\") i++;
    else if (source[i] === "`" || source.startsWith("${", i)) return i;
  }
  return source.length;
}

function endOfRegex(source: string, from: number): number {
  let inClass = false;
  for (let i = from; i < source.length && source[i] !== "\n"; i++) {
    if (source[i] === "\\") i++;
    else if (source[i] === "[") inClass = true;
    else if (source[i] === "]") inClass = false;
    else if (source[i] === "/" && !inClass) return i + 1;
  }
  return from;
}
