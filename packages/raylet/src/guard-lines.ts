import { type LockOwner, lockOwner } from "./lock-table.ts";

/** Lines between guard and raylet (GUARD.md): JSON objects, one a line. */
export interface GuardHello {
  readonly lease: string;
  readonly epoch: number;
  readonly token: string;
  readonly pid: number;
  readonly startTime: number;
}

export type GuardEvent =
  | { event: "started"; pid: number; startTime: number }
  | { event: "lock_failed"; path: string; holder: LockOwner | undefined; message: string }
  | { event: "start_failed"; message: string }
  | { event: "exited"; pid: number; code: number | null; signal: string | null }
  | { event: "left"; count: number; text: string }
  | { event: "gone"; killed: number; reason: string }
  | { event: "guard_failed"; message: string };

/** Longest line that is taken from a guard (its own limit is the same). */
export const GUARD_LINE_LIMIT_BYTES = 131_072;

type Fields = Record<string, unknown>;

/** What a guard said, checked; undefined for what we do not know: a newer guard may say more. */
export function parseGuardLine(
  line: string,
): { hello: GuardHello } | { echo: number } | { event: GuardEvent } | undefined {
  const fields = parseObject(line);
  if (!fields) return undefined;
  if (fields["hello"] === 1) {
    const { lease, epoch, token, pid, startTime } = fields;
    const good =
      typeof lease === "string" && typeof token === "string" && isCount(epoch) && isCount(pid) && isCount(startTime);
    return good ? { hello: { lease, epoch, token, pid, startTime } } : undefined;
  }
  if (isCount(fields["echo"])) return { echo: fields["echo"] };
  const event = parseEvent(fields);
  return event && { event };
}

function parseEvent(fields: Fields): GuardEvent | undefined {
  const { pid, startTime, code, signal } = fields;
  const message = text(fields["message"]);
  switch (fields["event"]) {
    case "started":
      return isCount(pid) && isCount(startTime) ? { event: "started", pid, startTime } : undefined;
    case "exited": {
      if (!isCount(pid)) return undefined;
      return {
        event: "exited",
        pid,
        code: isCount(code) ? code : null,
        signal: typeof signal === "string" ? signal : null,
      };
    }
    case "lock_failed":
      return { event: "lock_failed", path: text(fields["path"]), holder: lockOwner(fields["holder"]), message };
    case "start_failed":
      return { event: "start_failed", message };
    case "left": {
      const left = Array.isArray(fields["left"]) ? fields["left"] : [];
      const count = isCount(fields["leftCount"]) ? fields["leftCount"] : left.length;
      return { event: "left", count, text: JSON.stringify(left).slice(0, 500) };
    }
    case "gone":
      return {
        event: "gone",
        killed: isCount(fields["killedCount"]) ? fields["killedCount"] : 0,
        reason: text(fields["reason"]),
      };
    case "guard_failed":
      return { event: "guard_failed", message };
    default:
      return undefined;
  }
}

function parseObject(line: string): Fields | undefined {
  try {
    return objectOf(JSON.parse(line));
  } catch {
    return undefined;
  }
}

function objectOf(value: unknown): Fields | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : undefined;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function text(value: unknown): string {
  return typeof value === "string" ? value.slice(0, 1_000) : "";
}
