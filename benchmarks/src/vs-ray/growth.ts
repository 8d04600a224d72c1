import { medianOf } from "../statistics.ts";
import type { RowResult } from "./measured.ts";
import { short } from "./table.ts";

/** How many there are in the rows `grow-actors-N` and `grow-raylets-N`. */
export const GROWTH = { actors: [1, 10, 100, 1_000], raylets: [1, 2, 4, 8] } as const;
const ID = /^grow-(actors|raylets)-(\d+)$/;

export interface Growth {
  what: string;
  column: string;
  /** [how many, rate] of the rows that were measured. */
  points: [number, number][];
  /** What ten times as many leave of the rate: the slope of the line through the logarithms. */
  perTenfold: number;
}

/** The slope of each column in each family of rows of which two or more were measured. */
export function growthOf(results: readonly RowResult[], columns: readonly string[]): Growth[] {
  return Object.keys(GROWTH).flatMap((what) =>
    columns.flatMap((column) => {
      const points = results.flatMap(({ row, columns: measured }): [number, number][] => {
        const [, family, count] = ID.exec(row.id) ?? [];
        const rounds = measured[column]?.rounds ?? [];
        return family === what && rounds.length > 0 ? [[Number(count), medianOf(rounds)]] : [];
      });
      return points.length < 2 ? [] : [{ what, column, points, perTenfold: 10 ** slopeOf(points) }];
    }),
  );
}

/** Least squares through the logarithms. */
function slopeOf(points: readonly [number, number][]): number {
  const logs = points.map(([count, rate]) => [Math.log10(count), Math.log10(rate)] as const);
  const mean = (at: 0 | 1): number => logs.reduce((sum, pair) => sum + pair[at], 0) / logs.length;
  const [meanX, meanY] = [mean(0), mean(1)];
  const over = logs.reduce((sum, [x, y]) => sum + (x - meanX) * (y - meanY), 0);
  return over / logs.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0);
}

export function growthText({ what, column, points, perTenfold }: Growth): string {
  const rates = points.map(([count, rate]) => `${short(rate)} /s with ${count}`).join(", ");
  return `cost of growth, ${column}: ten times the ${what} leave ${short(perTenfold)} of the rate (${rates})`;
}
