import { readFile } from "node:fs/promises";

/** Images of 64 pixels 0…16, one after another, and what they show. */
export type Digits = { images: Uint8Array; labels: Uint8Array };

const PIXELS = 64;

/** The data set and its fixed split: every seventh row is held out (data/README.md). */
export async function loadDigits(file: URL): Promise<{ train: Digits; heldOut: Digits }> {
  const lines = (await readFile(file, "utf8")).trim().split("\n");
  const rows = lines.map((line) => line.split(",").map(Number));
  const pick = (held: boolean): Digits => {
    const chosen = rows.filter((_, row) => (row % 7 === 6) === held);
    return {
      images: Uint8Array.from(chosen.flatMap((row) => row.slice(0, PIXELS))),
      labels: Uint8Array.from(chosen.map((row) => row[PIXELS] as number)),
    };
  };
  return { train: pick(false), heldOut: pick(true) };
}

/** The digits with these indices. */
export function choose({ images, labels }: Digits, indices: readonly number[]): Digits {
  return {
    images: Uint8Array.from(indices.flatMap((index) => [...images.subarray(index * PIXELS, (index + 1) * PIXELS)])),
    labels: Uint8Array.from(indices.map((index) => labels[index] as number)),
  };
}

/** Whole numbers from `from` up to, not including, `to`. */
export function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, i) => from + i);
}
