import type { ActorRow } from "@whipray/rpc";
import { expect, test } from "vitest";
import { attachTarget } from "../src/attach-target.ts";

const NODE = "node_aaaaaaaaaaaaaaaa";

function actor(actorId: string, name: string, more: Partial<ActorRow> = {}): ActorRow {
  return { actorId, name, namespace: "default", state: "ALIVE", nodeId: NODE, ...more } as ActorRow;
}

test("role/index is the scheduler's actor, with or without an experiment before its name", () => {
  const actors = [actor("actor_1", "exp.t1.actor.0"), actor("actor_2", "actor.1"), actor("actor_3", "tractor.0")];
  expect(attachTarget("actor/0", actors)).toEqual({ nodeId: NODE, process: "actor_1" });
  expect(attachTarget("actor/1", actors)).toEqual({ nodeId: NODE, process: "actor_2" });
  expect(attachTarget("t1.actor/0", actors)).toEqual({ nodeId: NODE, process: "actor_1" });
  expect(attachTarget("exp.t1.actor.0", actors)).toEqual({ nodeId: NODE, process: "actor_1" });
  expect(attachTarget("actor_3", actors)).toEqual({ nodeId: NODE, process: "actor_3" });
});

test("two experiments with that role: ambiguous, and both are listed; the dead do not count", () => {
  const first = actor("actor_1", "e1.t.actor.0");
  const second = actor("actor_2", "e2.t.actor.0");
  expect(() => attachTarget("actor/0", [first, second])).toThrow(
    expect.objectContaining({
      code: "AMBIGUOUS",
      message: expect.stringMatching(/actor_1 {2}e1\.t\.actor\.0.*\n.*actor_2/),
    }),
  );
  const dead = { ...second, state: "DEAD" } as ActorRow;
  expect(attachTarget("actor/0", [first, dead]).process).toBe("actor_1");
});

test("addresses go to their node; other ids are asked for everywhere", () => {
  expect(attachTarget(`${NODE}/engine_x`, [])).toEqual({ nodeId: NODE, process: "engine_x" });
  expect(attachTarget("engine_x", [])).toEqual({ nodeId: undefined, process: "engine_x" });
});

test("an actor without a process says why", () => {
  const death = { kind: "WORKER_DIED", message: "killed by SIGKILL" } as ActorRow["death"];
  expect(() => attachTarget("a", [actor("actor_1", "a", { state: "DEAD", death })])).toThrow(/killed by SIGKILL/);
  const waiting = actor("actor_1", "a", { state: "PENDING_CREATION", nodeId: undefined, waiting: "1 GPU short" });
  expect(() => attachTarget("a", [waiting])).toThrow(/1 GPU short/);
  expect(() => attachTarget("nobody/0", [])).toThrow(expect.objectContaining({ code: "NOT_FOUND" }));
});
