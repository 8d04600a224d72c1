import { type IdKind, isId, WhiprayError } from "@whipray/core";

/**
 * Hand-written decoders for control messages: a Field takes what the wire decoder made and gives a checked value, or
 * throws. Unknown keys of a shape are dropped, so that a newer peer may say more (design.md, mechanism 3).
 */
export type Field<T> = (value: unknown, path: string) => T;
export type Infer<F> = F extends Field<infer T> ? T : never;

/** Entries that a list or a record of a control message may have unless it says otherwise. */
export const FIELD_LIST_LIMIT = 65_536;
/** Characters that a text of a control message may have unless it says otherwise. */
export const FIELD_TEXT_LIMIT = 4_096;

function fail(code: "INVALID_MESSAGE" | "RANGE", path: string, rule: string, value: unknown): WhiprayError {
  const shown =
    typeof value === "object" && value !== null ? Object.prototype.toString.call(value) : String(value).slice(0, 80);
  return new WhiprayError({ code, message: `${path} ${rule}; got ${shown}`, details: { field: path, value: shown } });
}

export function str(limit = FIELD_TEXT_LIMIT): Field<string> {
  return (value, path) => {
    if (typeof value !== "string") throw fail("INVALID_MESSAGE", path, "must be text", value);
    if (value.length > limit)
      throw fail("RANGE", path, `must have at most ${limit} characters`, `${value.length} characters`);
    return value;
  };
}

export function id(kind: IdKind): Field<string> {
  return (value, path) => {
    if (!isId(value, kind)) throw fail("INVALID_MESSAGE", path, `must be an id ${kind}_…`, value);
    return value;
  };
}

/** A whole number from 0 to `max`; NaN, Infinity, −0 and fractions are refused (reliability B11). */
export function count(max = Number.MAX_SAFE_INTEGER): Field<number> {
  return (value, path) => {
    if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0 || Object.is(value, -0) || value > max) {
      throw fail("RANGE", path, `must be a whole number from 0 to ${max}`, value);
    }
    return value;
  };
}

/** A whole number from `min` to `max`, also below zero. */
export function integer(min: number, max: number): Field<number> {
  return (value, path) => {
    if (
      typeof value !== "number" ||
      !Number.isSafeInteger(value) ||
      value < min ||
      value > max ||
      Object.is(value, -0)
    ) {
      throw fail("RANGE", path, `must be a whole number from ${min} to ${max}`, value);
    }
    return value;
  };
}

/** A finite number. */
export const real: Field<number> = (value, path) => {
  if (typeof value !== "number" || !Number.isFinite(value)) throw fail("RANGE", path, "must be a finite number", value);
  return value;
};

export const bool: Field<boolean> = (value, path) => {
  if (typeof value !== "boolean") throw fail("INVALID_MESSAGE", path, "must be true or false", value);
  return value;
};

export function bytes(limit: number): Field<Uint8Array> {
  return (value, path) => {
    if (!(value instanceof Uint8Array)) throw fail("INVALID_MESSAGE", path, "must be bytes", value);
    if (value.length > limit) throw fail("RANGE", path, `must have at most ${limit} bytes`, `${value.length} bytes`);
    return value;
  };
}

export function oneOf<const T extends string>(...names: T[]): Field<T> {
  return (value, path) => {
    if (!names.includes(value as T)) throw fail("INVALID_MESSAGE", path, `must be one of ${names.join(", ")}`, value);
    return value as T;
  };
}

export function list<T>(of: Field<T>, limit = FIELD_LIST_LIMIT): Field<T[]> {
  return (value, path) => {
    if (!Array.isArray(value)) throw fail("INVALID_MESSAGE", path, "must be a list", value);
    if (value.length > limit)
      throw fail("RANGE", path, `must have at most ${limit} entries`, `${value.length} entries`);
    return value.map((entry, index) => of(entry, `${path}[${index}]`));
  };
}

/** A list with a limit of the system itself, which is told by its own name (reliability B37). */
export function limitedList<T>(of: Field<T>, limit: number, what: string): Field<T[]> {
  const checked = list(of, limit);
  return (value, path) => {
    if (!Array.isArray(value) || value.length <= limit) return checked(value, path);
    throw new WhiprayError({
      code: "LIMIT",
      message: `${path} may have at most ${limit} ${what}; got ${value.length}`,
      details: { field: path, what, limit, value: value.length },
    });
  };
}

export function record<T>(of: Field<T>, limit = FIELD_LIST_LIMIT): Field<Record<string, T>> {
  return (value, path) => {
    const entries = Object.entries(plain(value, path));
    if (entries.length > limit)
      throw fail("RANGE", path, `must have at most ${limit} entries`, `${entries.length} entries`);
    return Object.fromEntries(entries.map(([key, entry]) => [key, of(entry, `${path}.${key.slice(0, 80)}`)]));
  };
}

/** Absent or nil → undefined. */
export function optional<T>(of: Field<T>): Field<T | undefined> {
  return (value, path) => (value === undefined || value === null ? undefined : of(value, path));
}

type Shaped<S extends Record<string, Field<unknown>>> = {
  [K in keyof S as undefined extends Infer<S[K]> ? never : K]: Infer<S[K]>;
} & { [K in keyof S as undefined extends Infer<S[K]> ? K : never]?: Infer<S[K]> };

export function shape<S extends Record<string, Field<unknown>>>(fields: S): Field<Shaped<S>> {
  const entries = Object.entries(fields);
  return (value, path) => {
    const source = plain(value, path);
    const result: Record<string, unknown> = {};
    for (const [key, field] of entries) {
      const checked = field(Object.hasOwn(source, key) ? source[key] : undefined, `${path}.${key}`);
      if (checked !== undefined) result[key] = checked;
    }
    return result as Shaped<S>;
  };
}

/** Anything that the wire decoder accepts; for values that only the receiver of the value understands. */
export const anything: Field<unknown> = (value) => value;

function plain(value: unknown, path: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value) || value instanceof Uint8Array) {
    throw fail("INVALID_MESSAGE", path, "must be a map", value);
  }
  return value as Record<string, unknown>;
}

/** A control method: its name on the wire, and what its request and reply must look like. */
export interface Method<Request, Reply> {
  readonly name: string;
  readonly request: Field<Request>;
  readonly reply: Field<Reply>;
}

export function method<Request, Reply>(
  name: string,
  request: Field<Request>,
  reply: Field<Reply>,
): Method<Request, Reply> {
  return { name, request, reply };
}
