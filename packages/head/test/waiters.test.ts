import { SimulatedClock, WhiprayError } from "@whipray/core";
import { expect, test } from "vitest";
import { Waiters } from "../src/waiters.ts";

test("what is waited for may be gone when the time is over: that wait fails, the head goes on", async () => {
  const clock = new SimulatedClock();
  const waiters = new Waiters(clock);
  let there = true;
  const look = (): undefined => {
    if (!there) throw new WhiprayError({ code: "ACTOR_NOT_FOUND", message: "its creation was refused by a full disk" });
  };
  const waiting = waiters.until("actor a", 100, new AbortController().signal, look);
  there = false;
  const failed = expect(waiting).rejects.toMatchObject({ code: "ACTOR_NOT_FOUND" });
  await clock.run(200);
  await failed;
  expect(waiters.size).toBe(0);
});
