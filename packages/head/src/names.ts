import { toAmounts, toProcessUnits, toUnits, type Units, WhiprayError } from "@whipray/core";

const NAME_PATTERN = /^[A-Za-z0-9._-]{1,128}$/;

/** @throws WhiprayError `INVALID_NAME` for anything but 1 to 128 of `A-Z a-z 0-9 . _ -` (reliability B24). */
export function checkName(what: string, name: string): void {
  if (NAME_PATTERN.test(name) && name !== "." && name !== "..") return;
  const shown = JSON.stringify(name.slice(0, 64));
  throw new WhiprayError({
    code: "INVALID_NAME",
    message: `${what} must be 1 to 128 of the characters A-Z a-z 0-9 . _ -; got ${shown}`,
    details: { what, name: shown },
  });
}

/** Key of a name table: names are unique within a namespace. The separator can be in neither. */
export function nameKey(namespace: string, name: string): string {
  return `${namespace}/${name}`;
}

/**
 * Units from a peer, by the same rules as amounts from a user; zeros are dropped.
 * @throws WhiprayError `INVALID_RESOURCES` naming resource, value and rule (reliability B19, B20).
 */
export function checkUnits(units: Readonly<Record<string, Units>>, what: string): Record<string, Units> {
  return { ...toUnits(toAmounts(units), what) };
}

/** The same for what one process is to get. */
export function checkProcessUnits(units: Readonly<Record<string, Units>>, what: string): Record<string, Units> {
  return { ...toProcessUnits(toAmounts(units), what) };
}

/** The refusal of a request that is wrong in itself. */
export function invalid(message: string, details: Record<string, unknown> = {}): WhiprayError {
  return new WhiprayError({ code: "INVALID_ARGUMENT", message, details });
}
