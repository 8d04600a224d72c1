/** Rows that a list gives when it says nothing (Ray: 100 in the command line; here all that the head answers with). */
export const LIST_LIMIT = 10_000;

/** Which rows of a list (Ray's state API: `filters`, `limit`). */
export interface ListOptions<Row> {
  /** Rows that have all of these values. */
  filters?: Partial<Row>;
  /** At most so many. Default 10 000. */
  limit?: number;
}

export function matching<Row extends object>(rows: readonly Row[], options: ListOptions<Row> = {}): Row[] {
  const wanted = Object.entries(options.filters ?? {}).filter(([, value]) => value !== undefined);
  const found = rows.filter((row) => wanted.every(([key, value]) => row[key as keyof Row] === value));
  return found.slice(0, options.limit ?? LIST_LIMIT);
}
