import type { Token } from "./tokens.ts";

/** A line of text and its number, counted from 1. */
export interface Line {
  line: number;
  text: string;
}

/** All lines of a text as they are. */
export function textLines(text: string): Line[] {
  return text.split("\n").map((content, index) => ({ line: index + 1, text: content }));
}

/** Source without what is no code: comments gone, strings empty. Line numbers stay. */
export function codeLines(tokens: Token[]): Line[] {
  const lines = new Map<number, string>();
  const append = (line: number, text: string): void => {
    lines.set(line, (lines.get(line) ?? "") + text);
  };
  for (const token of tokens) {
    if (token.kind === "code") {
      for (const { line, text } of textLines(token.text)) append(token.line + line - 1, text);
    } else if (token.kind !== "comment") append(token.line, '""');
  }
  return [...lines].sort(([a], [b]) => a - b).map(([line, text]) => ({ line, text }));
}
