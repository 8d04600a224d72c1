import { expect, test } from "vitest";
import { THREAD_VARIABLES, threadVariables } from "../src/index.ts";

const all = (value: string) => Object.fromEntries(THREAD_VARIABLES.map((name) => [name, value]));

test("areal 1.4: spec over node over CPUs over 8, for each variable alone", () => {
  expect(threadVariables(undefined)).toEqual(all("8"));
  expect(threadVariables(4)).toEqual(all("4"));
  expect(threadVariables(4, {}, { OMP_NUM_THREADS: "16", MKL_NUM_THREADS: "3" })).toEqual({
    ...all("4"),
    OMP_NUM_THREADS: "16",
    MKL_NUM_THREADS: "3",
  });
  expect(threadVariables(4, { OMP_NUM_THREADS: "1" }, { OMP_NUM_THREADS: "16" })).toEqual({
    ...all("4"),
    OMP_NUM_THREADS: "1",
  });
});

test("ray 1.1: a part of a CPU is one thread; no CPUs say nothing", () => {
  expect(threadVariables(0.25)).toEqual(all("1"));
  expect(threadVariables(2.9)).toEqual(all("2"));
  expect(threadVariables(0)).toEqual(all("8"));
});
