import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  ActorDiedError,
  type ActorHandle,
  ActorHandleNotFoundError,
  type ActorOptions,
  ActorPlacementGroupRemoved,
  ActorUnavailableError,
  ActorUnschedulableError,
  type Cluster,
  exitActor,
  init,
} from "../src/index.ts";
import { BUSY_MODULE, busyIn, caught } from "./busy.ts";
import type { Busy, Caller, Fragile } from "./busy-actor.ts";
import { until } from "./outside.ts";

const TEST_MS = 60_000;
let cluster: Cluster;
let folder: string;
beforeAll(async () => {
  cluster = await init({ numCpus: 4 });
  folder = mkdtempSync(join(tmpdir(), "actor-life-"));
}, TEST_MS);
afterAll(async () => {
  await cluster.close();
  rmSync(folder, { recursive: true, force: true });
});

const busy = (options?: ActorOptions<Busy>): Promise<ActorHandle<Busy>> => busyIn(cluster, options);

describe("ends on purpose (ray.md 3.6)", () => {
  test("exitActor: its caller sees the death, running calls end first, and it does not restart", async () => {
    const actor = await busy({ maxRestarts: -1 });
    await cluster.ready(actor);
    const held = actor.hold("still runs");
    await actor.open();
    const left = await caught(actor.leave());
    expect(left).toBeInstanceOf(ActorDiedError);
    expect(await held).toBe("still runs");
    await until("it is dead", async () => (await cluster.actorRow(actor)).state === "DEAD");
    expect(await cluster.actorRow(actor)).toMatchObject({ restarts: 0, death: { kind: "EXITED" } });
    expect(await caught(actor.count())).toBeInstanceOf(ActorDiedError);
    expect(() => exitActor()).toThrow(expect.objectContaining({ code: "NOT_IN_ACTOR" }));
  });

  test("Ray 8.40: terminate lets earlier calls end and never restarts; again is fine", async () => {
    const actor = await busy({ maxRestarts: -1 });
    const counts = Array.from({ length: 10 }, () => actor.count());
    await cluster.terminate(actor);
    expect(await Promise.all(counts)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    await until("it is dead", async () => (await cluster.actorRow(actor)).state === "DEAD");
    expect((await cluster.actorRow(actor)).restarts).toBe(0);
    await cluster.terminate(actor);
  });

  test("Ray 8.48: kill of what is no handle is refused, also of another cluster's (B22, B23); twice is fine", async () => {
    for (const none of ["x", 5, null, undefined, {}, () => 1])
      await expect(cluster.kill(none)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    const actor = await busy();
    const other = await init({ numCpus: 1 });
    try {
      await expect(other.kill(actor)).rejects.toBeInstanceOf(ActorHandleNotFoundError);
      await expect(other.ready(actor)).rejects.toMatchObject({ code: "ACTOR_HANDLE_NOT_FOUND" });
    } finally {
      await other.close();
    }
    expect(await actor.count()).toBe(1);
    await cluster.kill(actor);
    await cluster.kill(actor);
  });
});

describe("ends that happen to it", () => {
  test(
    "Ray 8.40: in order before its death; what is under way may have run; then it counts from 1; after the second death all fail",
    async () => {
      const actor = await busy({ maxRestarts: 1 });
      expect(await Promise.all([actor.count(), actor.count(), actor.count()])).toEqual([1, 2, 3]);
      const under = actor.hold();
      // Ray 3.2: without maxTaskRetries at most once.
      expect(await caught(actor.die())).toBeInstanceOf(ActorUnavailableError);
      expect(await caught(under)).toBeInstanceOf(ActorUnavailableError);
      expect(await Promise.all([actor.count(), actor.count()])).toEqual([1, 2]);
      expect(await caught(actor.die())).toBeInstanceOf(ActorDiedError);
      expect(await caught(actor.count())).toBeInstanceOf(ActorDiedError);
    },
    TEST_MS,
  );

  test(
    "Ray 8.49: a constructor whose process ends: with maxRestarts 3 the third try works; without, its death",
    async () => {
      const fragile = (file: string, maxRestarts: number) =>
        cluster
          .actor<Fragile>(BUSY_MODULE, "Fragile")
          .options({ maxRestarts, maxTaskRetries: -1 })
          .create(join(folder, file));
      expect(await (await fragile("three", 3)).ok()).toBe(true);
      const error = await caught((await fragile("none", 0)).ok());
      expect(error).toBeInstanceOf(ActorDiedError);
      expect(error).toMatchObject({ where: { exitCode: 3 } });
    },
    TEST_MS,
  );

  test(
    "Ray 8.46: calls on a dead actor become ready in wait, with the error; also from another actor",
    async () => {
      const [actor, caller] = await Promise.all([busy(), cluster.actor<Caller>(BUSY_MODULE, "Caller").create()]);
      await actor.count();
      const early = actor.hold.remote();
      process.kill(await actor.pid(), "SIGKILL");
      expect(await cluster.wait([early], { timeoutMs: 30_000 })).toEqual([[early], []]);
      const late = [actor.count.remote(), actor.count.remote()];
      expect(await cluster.wait(late, { numReturns: 2, timeoutMs: 30_000 })).toEqual([late, []]);
      await expect(cluster.get(late[0]!)).rejects.toBeInstanceOf(ActorDiedError);
      expect(await caller.waitFor(actor)).toBe("1 ready: ActorDiedError");
      await cluster.kill(caller);
    },
    TEST_MS,
  );

  test("Ray 8.43: it restarts without a call, and has its resource again", async () => {
    const actor = await busy({ numCpus: 3, maxRestarts: 1 });
    const pid = await actor.pid();
    process.kill(pid, "SIGKILL");
    await until("it lives again", async () => {
      const { state, restarts } = await cluster.actorRow(actor);
      return state === "ALIVE" && restarts === 1;
    });
    expect((await cluster.availableResources())["CPU"]).toBe(1);
    expect(await actor.pid()).not.toBe(pid);
    await cluster.kill(actor);
  });

  test("what can never be placed, or whose group goes before it was, says so under Ray's names (ray.md 2.5, 3.4)", async () => {
    const nodeId = "node_gone";
    expect(await caught((await busy({ nodeAffinity: { nodeId } })).count())).toBeInstanceOf(ActorUnschedulableError);
    const group = await cluster.placementGroup([{ CPU: 100 }]);
    const inside = await busy({ placement: group.bundle(0), numCpus: 1 });
    const call = caught(inside.count());
    await group.remove();
    expect(await call).toBeInstanceOf(ActorPlacementGroupRemoved);
  });
});

describe("names and namespaces", () => {
  test("the same name lives in two namespaces; getActor looks in its own unless told (ray.md 1.2)", async () => {
    const here = await busy({ name: "twin" });
    const there = await busy({ name: "twin", namespace: "elsewhere" });
    await there.count();
    expect(await (await cluster.getActor<Busy>("twin")).count()).toBe(1);
    expect(await (await cluster.getActor<Busy>("twin", "elsewhere")).count()).toBe(2);
    await expect(cluster.getActor("twin", "nowhere")).rejects.toMatchObject({ code: "ACTOR_NOT_FOUND" });
    await Promise.all([cluster.kill(here), cluster.kill(there)]);
  });

  test("getIfExists gives the living actor, also in a race of many, and makes one after its death; it needs a name", async () => {
    const many = await Promise.all(Array.from({ length: 8 }, () => busy({ name: "one", getIfExists: true })));
    const pids = await Promise.all(many.map((actor) => actor.pid()));
    expect(new Set(pids).size).toBe(1);
    await cluster.kill(many[0]);
    const next = await busy({ name: "one", getIfExists: true });
    expect(await next.pid()).not.toBe(pids[0]);
    await expect(busy({ getIfExists: true })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await cluster.kill(next);
  });

  test("B24, B25: bad names are refused, a taken one names its holder", async () => {
    for (const name of ["", "../x", "a b", "a\u0000b", "a\nb", "x".repeat(129), "ａ", 5 as never])
      await expect(busy({ name })).rejects.toMatchObject({ code: "INVALID_NAME" });
    for (const namespace of ["", "..", "a/b"])
      await expect(busy({ name: "fine", namespace })).rejects.toMatchObject({ code: "INVALID_NAME" });
    const holder = await busy({ name: "taken" });
    const { actorId } = await cluster.actorRow(holder);
    await expect(busy({ name: "taken" })).rejects.toMatchObject({ code: "NAME_TAKEN", details: { holder: actorId } });
    await cluster.kill(holder);
  });
});

test("ready waits for the constructor, as long as it may (Ray: __ray_ready__)", async () => {
  const actor = await busy({ numCpus: 4 });
  await cluster.ready(actor);
  expect((await cluster.actorRow(actor)).state).toBe("ALIVE");
  const next = await busy({ numCpus: 4 });
  await expect(cluster.ready(next, { timeoutMs: 50 })).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED" });
  expect((await cluster.actorRow(next)).waiting).toMatch(/^busy: needs 4 CPU/);
  await cluster.kill(actor);
  await cluster.ready(next);
  await cluster.kill(next);
});

test("B19: what no node has waits as infeasible, and says what is missing; it can be killed", async () => {
  const actor = await busy({ resources: { unobtainium: 1 } });
  const waiting = (await cluster.actorRow(actor)).waiting ?? "";
  expect(waiting).toMatch(/^infeasible: .*1 unobtainium short/);
  const call = caught(actor.count());
  await cluster.kill(actor);
  expect(await call).toBeInstanceOf(ActorDiedError);
});

test("B26: an environment that a Node process must not have fails the start, naming the variable", async () => {
  for (const env of [{ LD_PRELOAD: "/x.so" }, { WHIPRAY_TOKEN: "x" }, { "A=B": "x" }, { CUDA_VISIBLE_DEVICES: "7" }]) {
    const error = await caught((await busy({ env })).count());
    expect(error, JSON.stringify(env)).toBeInstanceOf(ActorDiedError);
    expect((error as Error).message).toContain(Object.keys(env)[0]!);
  }
});

test("B15, B16: no such actor, no such method: named errors with what there is", async () => {
  await expect(cluster.getActor("nobody")).rejects.toMatchObject({ code: "ACTOR_NOT_FOUND" });
  const actor = (await busy()) as unknown as Record<string, () => Promise<unknown>>;
  for (const method of ["_private", "$system", "toString2", "__proto__x"])
    await expect(actor[method]!()).rejects.toMatchObject({
      code: "METHOD_NOT_FOUND",
      message: expect.stringContaining("it has count"),
    });
  await cluster.kill(actor);
});

test("B17, B18: what cannot travel says where it is; the actor lives on", async () => {
  const actor = await busy();
  const note = actor.note as (...args: unknown[]) => Promise<unknown>;
  const cycle: Record<string, unknown> = {};
  cycle["self"] = cycle;
  for (const [bad, at] of [
    [{ x: { y: () => 1 } }, "args[0].x.y"],
    [[Symbol("s")], "args[0][0]"],
    [{ d: new Date(0) }, "args[0].d"],
    [cycle, "args[0]"],
  ] as const)
    await expect(note(bad)).rejects.toMatchObject({ code: "NOT_SERIALISABLE", message: expect.stringContaining(at) });
  expect(await actor.count()).toBe(1);
  await cluster.kill(actor);
});

test("bad options of actors and calls are refused by name, and make nothing", async () => {
  const before = (await cluster.listActors()).length;
  for (const options of [
    { maxPendingCalls: 1.5 },
    { maxRestarts: -2 },
    { maxTaskRetries: Number.NaN },
    { maxConcurrency: -1 },
    { concurrencyGroups: { io: 0 } },
    { methods: { count: { retries: 1 } } },
    { methods: { count: { maxTaskRetries: -2 } } },
    { resources: { GPU: 1 } },
    { links: "NEAR" },
    { maxCalls: 1 },
  ])
    await expect(busy(options as ActorOptions<Busy>), JSON.stringify(options)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
  await expect(busy({ concurrencyGroups: { "a b": 1 } })).rejects.toMatchObject({ code: "INVALID_NAME" });
  for (const resources of [{ numCpus: -1 }, { numGpus: 1.5 }, { numGpus: Number.NaN }, { resources: { x: -1 } }])
    await expect(busy(resources), JSON.stringify(resources)).rejects.toMatchObject({ code: "INVALID_RESOURCES" });
  const large = cluster.actor<Fragile>(BUSY_MODULE, "Fragile").create(new Uint8Array(11 * 1_048_576));
  await expect(large).rejects.toMatchObject({ code: expect.stringMatching(/PAYLOAD_TOO_LARGE|RANGE|LIMIT/) });
  expect((await cluster.listActors()).length).toBe(before);
  const actor = await busy();
  expect(() => actor.count.options({ timeout: 5 } as never)).toThrow(/timeout is no option of a method/);
  await cluster.kill(actor);
});
