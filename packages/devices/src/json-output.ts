import type { WarningList } from "./warning-list.ts";

const PARSE_LIMIT_CHARS = 1_048_576;

/**
 * A tool's JSON, also where messages stand before or after it. Undefined, with a warning, when there is none. Never throws.
 */
export function parseJsonOutput(text: string, warnings: WarningList): unknown {
  const kept = text.slice(0, PARSE_LIMIT_CHARS);
  const start = kept.search(/[[{]/);
  const end = start < 0 ? -1 : kept.lastIndexOf(kept[start] === "{" ? "}" : "]");
  try {
    if (end > start) return JSON.parse(kept.slice(start, end + 1));
  } catch {
    // Said below: a damaged JSON is as much no JSON as a missing one.
  }
  warnings.add("no JSON in the output of the tool");
  return undefined;
}

/** The members of an object; none for all else. */
export function members(value: unknown): [name: string, value: unknown][] {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? Object.entries(value) : [];
}

/** The elements of an array; none for all else. */
export function elements(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

/** A member that is a text or a number, as text. */
export function textOf(value: unknown, name: string): string | undefined {
  const member = members(value).find(([key]) => key === name)?.[1];
  return typeof member === "string" || typeof member === "number" ? String(member) : undefined;
}

/** The first of these members that says something; tools rename their keys. */
export function firstText(value: unknown, names: readonly string[]): string | undefined {
  const told = names.map((name) => textOf(value, name)?.trim());
  return told.find((text) => text !== undefined && text !== "" && text !== "N/A");
}
