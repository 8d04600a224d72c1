/** Keys that a map may have before its keys are remembered in a Set instead of being compared one with another. */
const FEW_KEYS = 16;

/**
 * The keys of the maps that are open during a scan, to find duplicates. Small maps compare places in the bytes and allocate
 * nothing; large ones use a Set, whose size is bounded by bytes that are really there. So no input costs quadratic time.
 */
export class KeyTable {
  readonly #starts: Int32Array;
  readonly #sizes: Int32Array;
  readonly #used: Uint8Array;
  readonly #sets: (Set<string> | undefined)[];
  #usesSets = false;

  constructor(levels: number) {
    this.#starts = new Int32Array(levels * FEW_KEYS);
    this.#sizes = new Int32Array(levels * FEW_KEYS);
    this.#used = new Uint8Array(levels);
    this.#sets = new Array<undefined>(levels).fill(undefined);
  }

  /** A map of `count` pairs begins at this depth. */
  open(depth: number, count: number): void {
    this.#used[depth] = 0;
    this.#sets[depth] = count > FEW_KEYS ? new Set() : undefined;
    if (count > FEW_KEYS) this.#usesSets = true;
  }

  /** Forgets what large maps left behind. */
  release(): void {
    if (!this.#usesSets) return;
    this.#sets.fill(undefined);
    this.#usesSets = false;
  }

  /** Whether the key is new in the map that is open at this depth. */
  add(depth: number, bytes: Uint8Array, start: number, size: number): boolean {
    const set = this.#sets[depth];
    if (set !== undefined) {
      const before = set.size;
      return set.add(Buffer.from(bytes.buffer, bytes.byteOffset + start, size).toString("latin1")).size > before;
    }
    const base = depth * FEW_KEYS;
    const used = this.#used[depth]!;
    for (let i = base; i < base + used; i++) {
      if (this.#sizes[i] === size && sameBytes(bytes, this.#starts[i]!, start, size)) return false;
    }
    this.#starts[base + used] = start;
    this.#sizes[base + used] = size;
    this.#used[depth] = used + 1;
    return true;
  }
}

function sameBytes(bytes: Uint8Array, one: number, other: number, size: number): boolean {
  for (let i = 0; i < size; i++) if (bytes[one + i] !== bytes[other + i]) return false;
  return true;
}

/** Keys that no header and no control body may have; user values may have all but the first. */
export const FORBIDDEN_KEYS: readonly string[] = ["__proto__", "constructor", "prototype"];
const FORBIDDEN_BYTES = FORBIDDEN_KEYS.map((key) => new TextEncoder().encode(key));

/** Whether the key is one that could reach a prototype (reliability B8). */
export function isForbiddenKey(bytes: Uint8Array, start: number, size: number, strict: boolean): boolean {
  if (size !== 9 && size !== 11) return false;
  return FORBIDDEN_BYTES.some(
    (key, index) => (strict || index === 0) && key.length === size && key.every((byte, i) => bytes[start + i] === byte),
  );
}
