import { GetTimeoutError, SimulatedClock } from "@whipray/core";
import { describe, expect, test } from "vitest";
import { getRefs, waitRefs } from "../src/get-wait.ts";
import { ObjectRef, type RefSource } from "../src/object-ref.ts";

interface Opened {
  readonly ref: ObjectRef<number>;
  resolve(value: number): void;
  reject(error: Error): void;
}

/** A ref that is settled by the test. */
function open(id: string): Opened {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  let isSettled = false;
  const settled = promise.then(
    () => {},
    () => {},
  );
  void settled.then(() => {
    isSettled = true;
  });
  const source: RefSource = {
    parts: async () => [],
    value: () => promise,
    settled: () => settled,
    get isSettled() {
      return isSettled;
    },
    isReady: () => isSettled,
    stored: undefined,
    passedOn: () => {},
    detach: () => false,
    release: () => {},
  };
  return { ref: new ObjectRef<number>(`obj_${id}`, "head/driver_a", "inc_a", () => source), resolve, reject };
}

describe("get", () => {
  test("values in the order of the refs; the first failure raises", async () => {
    const [a, b] = [open("a"), open("b")];
    b.resolve(2);
    a.resolve(1);
    expect(await getRefs(new SimulatedClock(), [a.ref, b.ref])).toEqual([1, 2]);
    expect(await getRefs(new SimulatedClock(), a.ref)).toBe(1);
    const bad = open("c");
    bad.reject(new RangeError("no"));
    await expect(getRefs(new SimulatedClock(), [a.ref, bad.ref])).rejects.toThrow("no");
  });

  test("a timeout is a GetTimeoutError that says how many are missing", async () => {
    const clock = new SimulatedClock();
    const [a, b] = [open("a"), open("b")];
    a.resolve(1);
    await clock.run(0);
    const late = getRefs(clock, [a.ref, b.ref], { timeoutMs: 100 });
    late.catch(() => {});
    await clock.run(100);
    await expect(late).rejects.toBeInstanceOf(GetTimeoutError);
    await expect(late).rejects.toThrow("1 of 2 objects");
  });

  test("what is no ref is refused", async () => {
    await expect(getRefs(new SimulatedClock(), 5 as never)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});

describe("ray 8.54: wait", () => {
  test("ready and pending, both in the order of the input; failed ones are ready", async () => {
    const clock = new SimulatedClock();
    const refs = ["a", "b", "c"].map(open);
    refs[2]!.resolve(3);
    refs[0]!.reject(new Error("failed"));
    await clock.run(0);
    const [ready, pending] = await waitRefs(
      clock,
      refs.map(({ ref }) => ref),
      { numReturns: 2 },
    );
    expect(ready.map(({ id }) => id)).toEqual(["obj_a", "obj_c"]);
    expect(pending.map(({ id }) => id)).toEqual(["obj_b"]);
    expect(await waitRefs(clock, [])).toEqual([[], []]);
  });

  test("ray 8.55: after the timeout it answers with what is there", async () => {
    const clock = new SimulatedClock();
    const a = open("a");
    const waiting = waitRefs(clock, [a.ref], { timeoutMs: 200 });
    await clock.run(200);
    expect(await waiting).toEqual([[], [a.ref]]);
  });

  test.each([
    ["a ref twice", (a: ObjectRef) => waitRefs(new SimulatedClock(), [a, a])],
    ["numReturns 0", (a: ObjectRef) => waitRefs(new SimulatedClock(), [a], { numReturns: 0 })],
    ["numReturns above the number of refs", (a: ObjectRef) => waitRefs(new SimulatedClock(), [a], { numReturns: 2 })],
    ["a negative timeout", (a: ObjectRef) => waitRefs(new SimulatedClock(), [a], { timeoutMs: -1 })],
    ["no list", (a: ObjectRef) => waitRefs(new SimulatedClock(), a as never)],
    ["numbers", () => waitRefs(new SimulatedClock(), [1, 2] as never)],
  ])("%s is refused", async (_, act) => {
    await expect(act(open("a").ref)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  test("an aborted signal ends the wait with its reason", async () => {
    const abort = new AbortController();
    const waiting = waitRefs(new SimulatedClock(), [open("a").ref], { signal: abort.signal });
    abort.abort(new Error("enough"));
    await expect(waiting).rejects.toThrow("enough");
  });

  test("waits for one list at the same time, others in between, and again for what they gave: each gets what it waits for", async () => {
    const clock = new SimulatedClock();
    const [a, b, c, d] = ["a", "b", "c", "d"].map(open) as [Opened, Opened, Opened, Opened];
    const list = [a.ref, b.ref, c.ref];
    const one = waitRefs(clock, list);
    const two = waitRefs(clock, list, { numReturns: 2 });
    const other = waitRefs(clock, [d.ref, c.ref]);
    b.resolve(1);
    const [ready, pending] = await one;
    expect([ready, pending]).toEqual([[b.ref], [a.ref, c.ref]]);
    const next = waitRefs(clock, pending);
    const nextTwo = waitRefs(clock, pending, { numReturns: 2, timeoutMs: 100 });
    c.resolve(2);
    expect(await other).toEqual([[c.ref], [d.ref]]);
    expect(await two).toEqual([[b.ref, c.ref], [a.ref]]);
    expect(await next).toEqual([[c.ref], [a.ref]]);
    await clock.run(100);
    expect(await nextTwo).toEqual([[c.ref], [a.ref]]);
    a.resolve(3);
    expect(await waitRefs(clock, pending, { numReturns: 2 })).toEqual([[a.ref, c.ref], []]);
  });

  test("1 000 refs, one after another: each source is asked once, duplicates are found also in a list that wait gave", async () => {
    const clock = new SimulatedClock();
    const opened = Array.from({ length: 1_000 }, (_, i) => open(String(i)));
    let asked = 0;
    for (const { ref } of opened) {
      const settled = ref.source.settled.bind(ref.source);
      ref.source.settled = (fetchLocal) => {
        asked++;
        return settled(fetchLocal);
      };
    }
    let pending: ObjectRef<number>[] = opened.map(({ ref }) => ref);
    for (let i = 0; i < opened.length; i++) {
      const waiting = waitRefs(clock, pending);
      opened[opened.length - 1 - i]!.resolve(i);
      const [ready, others] = await waiting;
      expect(ready).toEqual([opened[opened.length - 1 - i]!.ref]);
      pending = others;
    }
    expect(pending).toEqual([]);
    expect(asked).toBe(1_000);
    const [, others] = await waitRefs(clock, [opened[0]!.ref, opened[1]!.ref]);
    others.push(opened[1]!.ref);
    await expect(waitRefs(clock, others)).rejects.toThrow("each ref once");
  });
});
