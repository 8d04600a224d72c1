import type { WarningList } from "./warning-list.ts";

/** Characters of a tool's output that a parser looks at. */
const PARSE_LIMIT_CHARS = 1_048_576;
/** Devices that one tool may name; the largest known hosts have 64. */
export const DEVICE_LIMIT = 256;
const LINE_LIMIT_CHARS = 4_096;

/** A tool's output as lines without line ends, terminal colours and byte-order mark. Beyond the limits it is cut, with a warning. */
export function toolLines(text: string, warnings: WarningList): string[] {
  if (text.length > PARSE_LIMIT_CHARS) warnings.add(`output cut at ${PARSE_LIMIT_CHARS} characters`);
  const lines: string[] = [];
  for (const line of text.slice(0, PARSE_LIMIT_CHARS).split("\n")) {
    if (line.length > LINE_LIMIT_CHARS) {
      warnings.add(`line of more than ${LINE_LIMIT_CHARS} characters ignored`);
      continue;
    }
    // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences are what is removed here
    lines.push(line.replace(/\x1b\[[0-9;]*[A-Za-z]|[\ufeff\r]/g, ""));
  }
  return lines;
}

/** A whole number ≥ 0 as tools print them, else undefined. */
export function wholeNumber(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,9}$/.test(text) ? Number(text) : undefined;
}

/** A decimal number with nothing around it, else undefined. */
export function decimalNumber(text: string | undefined): number | undefined {
  return text !== undefined && /^-?\d{1,15}(\.\d{1,9})?$/.test(text) ? Number(text) : undefined;
}
