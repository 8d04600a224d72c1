import { WhiprayError } from "@whipray/core";

/** Edits of a typing error. */
const EDITS_LIMIT = 2;

/** What somebody who typed `word` may have meant: the names that begin with it, else those that are the fewest edits away. */
export function meantNames(word: string, names: readonly string[]): string[] {
  const begun = word === "" ? [] : names.filter((name) => name.startsWith(word));
  if (begun.length > 0) return begun;
  const near = names.map((name) => ({ name, edits: editsBetween(word, name) }));
  const fewest = Math.min(...near.map(({ edits }) => edits));
  // Two edits make any word of three letters out of another one.
  if (fewest > EDITS_LIMIT || fewest * 2 >= word.length) return [];
  return near.filter(({ edits }) => edits === fewest).map(({ name }) => name);
}

export function unknownCommand(word: string, names: readonly string[]): WhiprayError {
  const meant = meantNames(word, names);
  const hint = meant.length > 0 ? `Did you mean ${meant.join(" or ")}?` : `There are ${names.join(", ")}`;
  const shown = JSON.stringify(word.slice(0, 80));
  return new WhiprayError({ code: "USAGE", message: `there is no command ${shown}. ${hint}` });
}

/** Letters added, dropped, changed, or swapped with their neighbour. */
function editsBetween(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > EDITS_LIMIT) return EDITS_LIMIT + 1;
  const rows = Array.from({ length: a.length + 1 }, (_, i) => Array.from({ length: b.length + 1 }, (_, j) => i || j));
  for (let i = 1; i <= a.length; i++) {
    rows[i]![0] = i;
    for (let j = 1; j <= b.length; j++) {
      const changed = rows[i - 1]![j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      const swapped = a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] ? rows[i - 2]![j - 2]! + 1 : changed;
      rows[i]![j] = Math.min(rows[i - 1]![j]! + 1, rows[i]![j - 1]! + 1, changed, swapped);
    }
  }
  return rows[a.length]![b.length]!;
}
