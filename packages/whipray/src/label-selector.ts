import { WhiprayError } from "@whipray/core";

/** Ray: label keys and values as Kubernetes has them; a value may be `v`, `!v`, `in(a,b)` or `!in(a,b)`. */
const KEY = /^([A-Za-z0-9][A-Za-z0-9.-]{0,252}\/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/;
const VALUE = `[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?`;
const CONDITION = new RegExp(`^!?(${VALUE}|in\\(\\s*${VALUE}\\s*(,\\s*${VALUE}\\s*)*\\))$`);

/** A copy of a label selector. @throws WhiprayError `INVALID_ARGUMENT` naming the key and the value. */
export function checkSelector(what: string, selector: Readonly<Record<string, string>>): Record<string, string> {
  if (typeof selector !== "object" || selector === null || Array.isArray(selector))
    throw invalid(`${what} must be labels such as { zone: "a" }`);
  for (const [key, condition] of Object.entries(selector)) {
    if (!KEY.test(key))
      throw invalid(
        `${what}: ${JSON.stringify(key.slice(0, 64))} is no label's name: letters, digits, . _ - and one prefix/`,
      );
    if (typeof condition !== "string" || !CONDITION.test(condition))
      throw invalid(
        `${what}.${key} must be value, !value, in(a,b) or !in(a,b); got ${JSON.stringify(String(condition).slice(0, 64))}`,
      );
  }
  return { ...selector };
}

function invalid(message: string): WhiprayError {
  return new WhiprayError({ code: "INVALID_ARGUMENT", message });
}
