import { MAX_DEPTH } from "@whipray/rpc";
import { invalid } from "./errors.ts";

/**
 * The value with each object that is neither list nor plain map replaced by what `replace` gives for it. What holds none is given
 * back as it is. @throws SchedulerError `INVALID_ARGUMENT` for what is nested deeper than a message may be.
 */
export function mapObjects(value: unknown, replace: (object: object) => unknown, depth = 0): unknown {
  if (typeof value !== "object" || value === null) return value;
  const list = Array.isArray(value);
  if (!list && !isPlain(value)) return replace(value);
  if (depth > MAX_DEPTH) throw invalid(`a value is nested deeper than ${MAX_DEPTH} levels, or holds itself`);
  let changed = false;
  const entries = Object.entries(value).map(([key, one]): [string, unknown] => {
    const mapped = mapObjects(one, replace, depth + 1);
    changed ||= mapped !== one;
    return [key, mapped];
  });
  if (!changed) return value;
  return list ? entries.map(([, one]) => one) : Object.fromEntries(entries);
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}
