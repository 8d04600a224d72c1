import { customAlphabet } from "nanoid";
import type { RandomSource } from "./random.ts";

/** Every kind of id that Whipray hands out; the prefix of an id is its kind. */
export const ID_KINDS = [
  "actor",
  "call",
  "cluster",
  "driver",
  "engine",
  "inc",
  "job",
  "lease",
  "node",
  "obj",
  "pg",
  "task",
  "worker",
] as const;
export type IdKind = (typeof ID_KINDS)[number];

/** Gives new ids `${kind}_${random}`. Injected everywhere, so that a simulation repeats with its seed. */
export interface IdSource {
  next(kind: IdKind): string;
}

// Lower-case letters and digits only: an id that starts with "-" or holds "_" would look like a flag or a separator.
const ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz";
/** Random characters of an id: 36^16 ≈ 2^82. */
export const ID_LENGTH = 16;
const ID_PATTERN = new RegExp(`^(${ID_KINDS.join("|")})_[0-9a-z]{1,32}$`);

/** Ids from the operating system's randomness. */
export function randomIds(): IdSource {
  const nano = customAlphabet(ALPHABET, ID_LENGTH);
  return { next: (kind) => `${kind}_${nano()}` };
}

/** Ids from a seeded source, for simulations: the same seed gives the same ids. */
export function seededIds(random: RandomSource): IdSource {
  return {
    next(kind) {
      let text = "";
      for (let i = 0; i < ID_LENGTH; i++) text += ALPHABET[random.below(ALPHABET.length)];
      return `${kind}_${text}`;
    },
  };
}

/** Whether `text` is an id of the given kind (of any kind when none is given). */
export function isId(text: unknown, kind?: IdKind): text is string {
  return typeof text === "string" && ID_PATTERN.test(text) && (kind === undefined || text.startsWith(`${kind}_`));
}
