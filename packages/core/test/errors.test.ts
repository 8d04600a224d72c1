import { inspect } from "node:util";
import { describe, expect, test } from "vitest";
import {
  ActorDiedError,
  asWhiprayError,
  ERROR_CAUSE_LIMIT,
  ERROR_TEXT_LIMIT,
  type ErrorWire,
  errorFromWire,
  errorToWire,
  RayActorError,
  RayTaskError,
  raisedAt,
  WhiprayError,
} from "../src/index.ts";

/** A second copy of the package in one process, as two versions in one tree of dependencies make it. */
const loadCopy = async () => {
  const copy = `${new URL("../src/errors.ts", import.meta.url).href}?copy`;
  return (await import(/* @vite-ignore */ copy)) as { WhiprayError: typeof WhiprayError };
};

describe("instanceof", () => {
  test("holds between two copies of the package, both ways", async () => {
    const copy = await loadCopy();
    expect(copy.WhiprayError).not.toBe(WhiprayError);
    const theirs = new copy.WhiprayError({ code: "X", message: "x" });
    const ours = new ActorDiedError({ message: "gone" });
    expect([theirs instanceof WhiprayError, ours instanceof copy.WhiprayError]).toEqual([true, true]);
    expect(asWhiprayError(theirs)).toBe(theirs);
    expect(theirs instanceof ActorDiedError).toBe(false);
  });

  test("knows base classes, and nothing that only looks alike", () => {
    const error = new ActorDiedError({ message: "gone" });
    expect([error instanceof RayActorError, error instanceof Error]).toEqual([true, true]);
    for (const other of [new Error("x"), { code: "X", name: "WhiprayError" }, null, "WhiprayError", undefined])
      expect(other instanceof WhiprayError).toBe(false);
  });

  test("what is none of ours is wrapped, with itself as the cause", () => {
    const inner = new TypeError("no");
    expect(asWhiprayError(inner)).toMatchObject({ code: "INTERNAL", message: "no", cause: inner });
    expect(asWhiprayError("text", "FRAME_INVALID")).toMatchObject({ code: "FRAME_INVALID", message: "text" });
  });
});

test("what is known of the place is added; what an inner process said wins", () => {
  const error = new WhiprayError({ code: "X", message: "x", where: { pid: 1 } });
  expect(error.at({ pid: 2, node: "node_a" }).where).toEqual({ pid: 1, node: "node_a" });
});

test("what user code threw gets its place, unless an inner process has told of one", () => {
  const thrown = raisedAt(new RangeError("too far", { cause: new Error("root") }), { pid: 1 });
  expect(thrown).toMatchObject({
    code: "TASK_FAILED",
    remoteName: "RangeError",
    message: "too far",
    where: { pid: 1 },
  });
  expect(thrown.cause).toMatchObject({ message: "root" });
  expect(inspect(thrown)).toMatch(/^RayTaskError: RangeError: too far\n +at \S*.*errors\.test\.ts/);
  expect(errorToWire(thrown)).toMatchObject({ name: "RangeError", stack: expect.stringContaining("errors.test.ts") });
  expect(raisedAt(thrown, { pid: 2, node: "node_a" }).where).toEqual({ pid: 1 });
  expect(raisedAt({ no: "error" }, { pid: 1 })).toMatchObject({ message: '{"no":"error"}', where: { pid: 1 } });
});

describe("errors on the wire (B44)", () => {
  test("keep class, code, message, details and place", () => {
    const where = { node: "node_a", pid: 7, signal: "SIGKILL", stderrTail: ["last words"] };
    const error = new ActorDiedError({ message: "gone", details: { n: 1 }, where, retryable: true });
    const back = errorFromWire(structuredClone(errorToWire(error)));
    expect(back).toBeInstanceOf(ActorDiedError);
    expect(back).toMatchObject({ code: error.code, message: "gone", details: { n: 1 }, where, retryable: true });
  });

  test("a user's own error comes back as RayTaskError with its class and its stack", () => {
    const back = errorFromWire(errorToWire(new RangeError("too far"))) as RayTaskError;
    expect(back).toBeInstanceOf(RayTaskError);
    expect(back).toMatchObject({ code: "TASK_FAILED", remoteName: "RangeError" });
    expect(back.remoteStack).toContain("errors.test.ts");
  });

  test("text is cut at its limit with a mark; a surrogate that is alone, or that the cut leaves so, is replaced", () => {
    const { message, stack } = errorToWire(new Error("x".repeat(100_000_000)));
    for (const text of [message, stack!]) {
      expect(text.length).toBeLessThan(ERROR_TEXT_LIMIT + 64);
      expect(text).toMatch(/… \[cut, \d+ characters\]$/);
    }
    expect(errorToWire(new Error("x".repeat(ERROR_TEXT_LIMIT))).message.length).toBe(ERROR_TEXT_LIMIT);
    expect(errorToWire(new Error(`${"x".repeat(ERROR_TEXT_LIMIT - 1)}😀`)).message.isWellFormed()).toBe(true);
    expect(errorToWire(new Error("a\ud800b")).message).toBe("a\ufffdb");
  });

  test("causes are kept to their limit, also when they go in a circle", () => {
    const error = new Error("self");
    error.cause = error;
    let depth = 0;
    for (let wire: ErrorWire | undefined = errorToWire(error); wire.cause; wire = wire.cause) depth++;
    expect(depth).toBe(ERROR_CAUSE_LIMIT);
  });

  test("neither toJSON nor getters nor fields of a foreign error cross, nor does a thrown value that cannot be shown", () => {
    const error = Object.assign(new Error("plain"), { toJSON: () => ({ evil: true }), secret: "s" });
    Object.defineProperty(error, "name", { value: { not: "text" } });
    const wire = errorToWire(error);
    expect(Object.keys(wire).sort()).toEqual(["code", "message", "name", "stack"]);
    expect(wire.name).toBe("Error");
    const circle: Record<string, unknown> = {};
    circle["me"] = circle;
    expect(errorToWire(circle)).toEqual({ name: "Error", code: "TASK_FAILED", message: "[object Object]" });
    expect(errorToWire(undefined).message).toBe("undefined");
  });

  test("a wire form of wrong types gives an error nevertheless", () => {
    const wrong = { name: "toString", code: 5, message: null, details: [], where: "x", retryable: 1 };
    expect(errorFromWire(wrong as unknown as ErrorWire)).toMatchObject({
      code: "INTERNAL",
      message: "(no message)",
      details: {},
      where: undefined,
      retryable: false,
    });
  });
});
