import { quantile } from "../statistics.ts";
import { type ColumnResult, keepSteps, type RowResult, rateOf } from "./measured.ts";
import { type LimitId, loopOf, QUICK_SCALE, type RowSpec } from "./rows.ts";
import type { SideReply, SideRequest } from "./side-protocol.ts";

export interface Asked {
  rounds: number;
  seconds: number;
  quick: boolean;
  /** No further round begins when a row has taken this long; what it has counts. Default: no limit. */
  rowSeconds?: number;
}

/** What runs a column's loops. */
export interface Column {
  name: string;
  has(row: RowSpec): boolean;
  ask(row: RowSpec, request: SideRequest): Promise<SideReply>;
}

/** The round that is not counted takes this part of the others. */
const WARM_UP_PART = 0.5;
/** Longest measurement of a limit within a round. */
const LIMIT_SECONDS = 0.25;

export interface Meter {
  rate(id: LimitId, seconds: number): Promise<number>;
}

/**
 * Runs rows on all columns in turns, A B C A B C, the first of a round being another one each time, with the row's limit between them. Round 0 warms up and is not counted.
 * A column that fails has its error in the row's result; the others go on.
 */
export async function* compare(
  rows: readonly RowSpec[],
  columns: readonly Column[],
  limits: Meter,
  { rounds, seconds, quick, rowSeconds = Number.POSITIVE_INFINITY }: Asked,
  nowMs: () => number = () => performance.now(),
): AsyncGenerator<RowResult, void, unknown> {
  for (const row of rows) {
    const scale = quick && row.scaled ? QUICK_SCALE : 1;
    const taking = columns.filter(({ has }) => has(row));
    const results = new Map<string, ColumnResult>(taking.map(({ name }) => [name, { rounds: [], stepsMs: [] }]));
    const limit: number[] = [];
    const last = row.once ? 1 : rounds;
    const startedAtMs = nowMs();
    for (let round = row.once ? 1 : 0; round <= last; round++) {
      // One round counts, however long it takes.
      if (round > 1 && nowMs() - startedAtMs > rowSeconds * 1_000) break;
      for (let turn = 0; turn < taking.length; turn++) {
        const column = taking[(turn + round) % taking.length]!;
        const result = results.get(column.name)!;
        if (result.error !== undefined) continue;
        const reply = await column.ask(row, {
          row: loopOf(row),
          seconds: round === 0 ? (row.warmUpSeconds ?? seconds * WARM_UP_PART) : seconds,
          scale,
        });
        if (round > 0 || "error" in reply) note(result, reply, row, scale, rounds);
      }
      // A round without its limit counts beside the other side all the same.
      if (row.limit && round > 0)
        limit.push(await limits.rate(row.limit, Math.min(seconds, LIMIT_SECONDS)).catch(() => Number.NaN));
    }
    for (const column of taking) await column.ask(row, { end: loopOf(row) });
    yield { row, columns: Object.fromEntries(results), ...(row.limit && { limit }) };
  }
}

function note(result: ColumnResult, reply: SideReply, row: RowSpec, scale: number, rounds: number): void {
  if ("took" in reply) {
    result.rounds.push(row.openLoop ? quantile(reply.took, 0.99) * 1_000 : rateOf(reply.took, (row.per ?? 1) * scale));
    keepSteps(result.stepsMs, reply.took, rounds);
  } else if ("value" in reply) result.rounds.push(reply.value);
  else result.error = "error" in reply ? reply.error : "an answer that is none";
}
