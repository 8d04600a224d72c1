import { describe, expect, test } from "vitest";
import {
  backoffMs,
  ID_KINDS,
  ID_LENGTH,
  isId,
  randomIds,
  redact,
  seededIds,
  seededRandom,
  silentLogger,
} from "../src/index.ts";

describe("ids", () => {
  test("have their kind as prefix, letters and digits of one length, and do not repeat", () => {
    const ids = randomIds();
    const made = Array.from({ length: 10_000 }, () => ids.next("pg"));
    expect(new Set(made).size).toBe(made.length);
    for (const id of made) expect(id).toMatch(/^pg_[0-9a-z]{16}$/);
    for (const kind of ID_KINDS) expect([isId(ids.next(kind), kind), isId(ids.next(kind))]).toEqual([true, true]);
  });

  test("of a seeded source repeat with the seed", () => {
    const made = (seed: number): string[] => {
      const ids = seededIds(seededRandom(seed));
      return [ids.next("actor"), ids.next("node")];
    };
    expect(made(1)).toEqual(made(1));
    expect(made(1)).not.toEqual(made(2));
    expect(made(1)[0]).toHaveLength("actor_".length + ID_LENGTH);
  });

  test.each(["", "pg", "pg_", "pg_A", "pg_a-b", "pg_a\n", ` pg_a`, "other_a", `pg_${"a".repeat(33)}`, 5, null, {}])(
    "%j is none",
    (text) => {
      expect(isId(text)).toBe(false);
    },
  );

  test("of another kind is none of this one", () => {
    expect([isId("pg_a", "pg"), isId("pg_a", "actor")]).toEqual([true, false]);
  });
});

describe("backoff", () => {
  const at = (value: number) => ({ next: () => value, below: () => 0 });
  const policy = { firstMs: 100, maxMs: 1_000 };

  test("doubles up to its limit, also after very many tries", () => {
    expect([0, 1, 2, 3, 4, 5, 10_000].map((attempt) => backoffMs({ ...policy, jitter: 0 }, attempt, at(0)))).toEqual([
      100, 100, 200, 400, 800, 1_000, 1_000,
    ]);
    expect(backoffMs({ ...policy, factor: 3, jitter: 0 }, 3, at(0))).toBe(900);
  });

  test("is shortened by at most its jitter, never lengthened", () => {
    expect(backoffMs(policy, 1, at(0))).toBe(80);
    expect(backoffMs({ ...policy, jitter: 0.5 }, 9, at(0))).toBe(500);
    const random = seededRandom(3);
    for (let attempt = 1; attempt < 100; attempt++) {
      const wait = backoffMs({ ...policy, jitter: 1 }, attempt, random);
      expect(wait).toBeGreaterThanOrEqual(0);
      expect(wait).toBeLessThanOrEqual(policy.maxMs);
    }
  });
});

describe("the logger", () => {
  test("is silent by default, and so are its children", () => {
    expect(silentLogger.child({ a: 1 })).toBe(silentLogger);
    expect(silentLogger.error("x", { a: 1 })).toBeUndefined();
  });

  test("values under secret-looking keys are redacted at any level, in a copy", () => {
    const fields = { token: "t", http: { Authorization: "Bearer x", url: "/" }, API_KEY: "k", ok: ["token"], n: 1 };
    expect(redact(fields)).toEqual({
      token: "[redacted]",
      http: { Authorization: "[redacted]", url: "/" },
      API_KEY: "[redacted]",
      ok: ["token"],
      n: 1,
    });
    expect(fields.token).toBe("t");
  });

  test("a value that contains itself does not hang it", () => {
    const circle: Record<string, unknown> = { password: "p" };
    circle["me"] = circle;
    expect(redact(circle)).toMatchObject({ password: "[redacted]", me: { password: "[redacted]" } });
  });
});
