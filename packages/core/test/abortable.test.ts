import { getEventListeners } from "node:events";
import { expect, test } from "vitest";
import { abortable } from "../src/index.ts";

const REASON = new Error("not needed any more");

test("without an abort it is the work itself, result or error, and the signal is left as it was", async () => {
  const { signal } = new AbortController();
  expect(await abortable(undefined, async () => 1)).toBe(1);
  expect(await abortable(signal, async () => 2)).toBe(2);
  await expect(abortable(signal, () => Promise.reject(REASON))).rejects.toBe(REASON);
  expect(getEventListeners(signal, "abort")).toEqual([]);
});

test("an abort rejects at once with its reason and hands the work over; its later failure is nobody's", async () => {
  const abort = new AbortController();
  const work = Promise.withResolvers<number>();
  const late: Promise<number>[] = [];
  const waiting = abortable(
    abort.signal,
    () => work.promise,
    (left) => late.push(left),
  );
  abort.abort(REASON);
  await expect(waiting).rejects.toBe(REASON);
  expect(late).toEqual([work.promise]);
  work.reject(new Error("later"));
  await expect(late[0]).rejects.toThrow("later");
});

test("with an aborted signal, or one that is none, nothing starts", async () => {
  let started = false;
  const start = async (): Promise<void> => {
    started = true;
  };
  await expect(abortable(AbortSignal.abort(REASON), start)).rejects.toBe(REASON);
  for (const bad of ["stop", 1, null, {}])
    await expect(abortable(bad as never, start)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  expect(started).toBe(false);
});
