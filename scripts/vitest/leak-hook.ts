import { afterAll, expect } from "vitest";
import { snapshot, waitUntilClean } from "../../packages/testkit/src/leak-check.io.ts";
import { describeLeaks } from "../../packages/testkit/src/leak-check.ts";
import { RUN_VARIABLE } from "../stages/leftovers.ts";

/** What a test file started has this long to end after its last test. */
const DEADLINE_MS = 10_000;

// Vitest runs each test file in a process of its own: what is set here marks all that this file starts, and nothing else.
const run = process.env[RUN_VARIABLE] ?? "alone";
const mark = `${run}.${process.pid}`;
process.env[RUN_VARIABLE] = mark;
const places = { prefixes: [] };
const before = snapshot(places);

// Registered before those of the file, so it runs after them.
afterAll(async () => {
  const scope = { ...places, run: { variable: RUN_VARIABLE, value: mark, unmarked: false } };
  const leaks = await waitUntilClean(before, { ...scope, deadlineMs: DEADLINE_MS });
  for (const { process: left } of leaks) if (left && left.state !== "Z") process.kill(left.pid, "SIGKILL");
  expect(describeLeaks(leaks), "processes that this test file left").toBe("");
}, 2 * DEADLINE_MS);
