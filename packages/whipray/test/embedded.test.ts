import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ActorDiedError, type Cluster, GetTimeoutError, init, RayTaskError } from "../src/index.ts";
import { processesOf, until } from "./outside.ts";
import type { Sample } from "./sample-actor.ts";

const SAMPLE = new URL("./sample-actor.ts", import.meta.url);

describe("an embedded cluster", () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await init({ numCpus: 4, numGpus: 2, resources: { special: 2 } });
  });
  afterAll(async () => {
    await cluster.close();
    expect(processesOf(cluster.id)).toEqual([]);
  });

  test("an actor keeps state; calls, refs, get and wait", async () => {
    const actor = await cluster.actor<Sample>(SAMPLE, "Sample").create(10);
    expect(await actor.add(1)).toBe(11);
    const refs = [actor.add.remote(1), actor.add.remote(1), actor.add.remote(1)];
    expect(await cluster.get(refs)).toEqual([12, 13, 14]);
    const [ready, pending] = await cluster.wait(refs, { numReturns: 2 });
    expect([ready.length, pending.length]).toEqual([2, 1]);
    const put = await cluster.put(100);
    expect(await actor.add(put)).toBe(114);
    await cluster.kill(actor);
  });

  test("tensors arrive as typed arrays", async () => {
    const actor = await cluster.actor<Sample>(SAMPLE, "Sample").create(0);
    const big = new Float64Array(200_000).map((_, i) => i / 7);
    const back = await actor.scale(big, 2);
    expect(back).toBeInstanceOf(Float64Array);
    expect(back[199_999]).toBeCloseTo((199_999 / 7) * 2);
    await cluster.kill(actor);
  });

  test("promise 7: a method's error keeps class, message and stack, and tells node, actor and pid where it was raised", async () => {
    const actor = await cluster.actor<Sample>(SAMPLE, "Sample").create(0);
    const error = await actor.fail("too far").catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(RayTaskError);
    expect(error).toMatchObject({ remoteName: "RangeError", message: "too far" });
    expect((error as RayTaskError).remoteStack).toContain("sample-actor.ts");
    const { actorId, nodeId } = await cluster.actorRow(actor);
    expect((error as RayTaskError).where).toMatchObject({ node: nodeId, actor: actorId, pid: await actor.pid() });
    await cluster.kill(actor);
  });

  test("ray 8.49: a constructor that raises kills the actor; the first call tells why", async () => {
    const actor = await cluster.actor<Sample>(SAMPLE, "Broken").create();
    const error = await actor.add(1).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(ActorDiedError);
    expect(error).toMatchObject({ details: { actorInitFailed: true } });
    expect(String((error as Error).message)).toContain("broken on purpose");
  });

  test("ray 8.48: kill makes a running call fail with the cause", async () => {
    const actor = await cluster.actor<Sample>(SAMPLE, "Sample").create(0);
    const running = actor.sleep(60_000).catch((caught: unknown) => caught);
    await actor.add(1);
    await cluster.kill(actor);
    expect(await running).toBeInstanceOf(ActorDiedError);
    await expect(actor.add(1)).rejects.toBeInstanceOf(ActorDiedError);
  });

  test("kill -9 of the worker: exit signal, last lines and log path are in the error", async () => {
    const actor = await cluster.actor<Sample>(SAMPLE, "Sample").create(0);
    await actor.say("the last words");
    const pid = await actor.pid();
    const running = actor.sleep(60_000).catch((caught: unknown) => caught);
    await actor.add(0);
    process.kill(pid, "SIGKILL");
    const error = (await running) as ActorDiedError;
    expect(error).toBeInstanceOf(ActorDiedError);
    expect(error.where).toMatchObject({ signal: "SIGKILL", pid });
    expect(error.where?.stderrTail?.join("\n")).toContain("the last words");
    expect(existsSync(String(error.where?.logPath))).toBe(true);
    expect(error.message).toMatch(/signal SIGKILL\nlast lines of stderr:\n.*the last words.*\nits log: \/.+\.log$/s);
  });

  test("ray 8.40: max_restarts brings it back with a new process and fresh state", async () => {
    const actor = await cluster
      .actor<Sample>(SAMPLE, "Sample")
      .options({ maxRestarts: 1, maxTaskRetries: -1 })
      .create(5);
    expect(await actor.add(1)).toBe(6);
    const pid = await actor.pid();
    process.kill(pid, "SIGKILL");
    await until("a restarted actor answers", async () => (await actor.pid()) !== pid);
    expect(await actor.add(1)).toBe(6);
    process.kill(await actor.pid(), "SIGKILL");
    await expect(actor.sleep(60_000)).rejects.toBeInstanceOf(ActorDiedError);
  });

  test("ray 8.51: names are unique in their namespace, found again, and free after death", async () => {
    const first = await cluster.actor<Sample>(SAMPLE, "Sample").options({ name: "one" }).create(1);
    await expect(cluster.actor<Sample>(SAMPLE, "Sample").options({ name: "one" }).create(1)).rejects.toMatchObject({
      code: "NAME_TAKEN",
    });
    expect(await (await cluster.getActor<Sample>("one")).add(1)).toBe(2);
    const same = await cluster.actor<Sample>(SAMPLE, "Sample").options({ name: "one", getIfExists: true }).create(50);
    expect(await same.add(1)).toBe(3);
    await cluster.kill(first);
    await until("the name is free", async () =>
      cluster.getActor("one").then(
        () => false,
        () => true,
      ),
    );
  });

  test("streams: items come as they are made, a break stops the generator", async () => {
    const actor = await cluster.actor<Sample>(SAMPLE, "Sample").create(0);
    const items: number[] = [];
    for await (const item of actor.count(1_000_000)) {
      items.push(item);
      if (items.length === 5) break;
    }
    expect(items).toEqual([0, 1, 2, 3, 4]);
    await until("the generator was closed", () => actor.closedStreams().then((n) => n === 1));
    await cluster.kill(actor);
  });

  test("handles can be passed to other actors, refs inside of values too", async () => {
    const one = await cluster.actor<Sample>(SAMPLE, "Sample").create(7);
    const two = await cluster.actor<Sample>(SAMPLE, "Sample").create(0);
    expect(await two.addThrough(one, 3)).toBe(10);
    expect(await two.readRef({ ref: await cluster.put("from the driver") })).toBe("from the driver");
    await cluster.kill(one);
    await cluster.kill(two);
  });

  test("ray 8.12: two 1-GPU groups get different devices, and the actor sees its own alone", async () => {
    const groups = await Promise.all([0, 1].map(() => cluster.placementGroup([{ GPU: 1, CPU: 1 }])));
    const seen = await Promise.all(
      groups.map(async (group) => {
        await group.ready({ timeoutMs: 10_000 });
        const actor = await cluster
          .actor<Sample>(SAMPLE, "Sample")
          .options({ placement: group.bundle(0), numGpus: 1, numCpus: 1 })
          .create(0);
        return actor.env("CUDA_VISIBLE_DEVICES");
      }),
    );
    expect([...seen].sort()).toEqual(["0", "1"]);
    await Promise.all(groups.map((group) => group.remove()));
    await until("all is free again", async () => (await cluster.availableResources())["GPU"] === 2);
  });

  test("promise 5: a group that cannot be placed says what is missing, per bundle", async () => {
    const group = await cluster.placementGroup([{ CPU: 1 }, { GPU: 8 }]);
    expect(await group.wait(100)).toBe(false);
    const error = await group.ready({ timeoutMs: 50 }).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(GetTimeoutError);
    expect((error as Error).message).toMatch(/bundle 1: .*GPU/);
    await group.remove();
    await expect(group.ready()).rejects.toMatchObject({ code: "PLACEMENT_GROUP_REMOVED" });
  });

  test("ray 8.19: removing a group ends its actor and frees everything", async () => {
    const group = await cluster.placementGroup([{ CPU: 2 }]);
    await group.ready();
    const actor = await cluster
      .actor<Sample>(SAMPLE, "Sample")
      .options({ placement: group.bundle(0), numCpus: 2 })
      .create(0);
    const running = actor.sleep(60_000).catch((caught: unknown) => caught);
    await actor.add(0);
    await group.remove();
    expect(await running).toBeInstanceOf(ActorDiedError);
    await until("the CPUs are free", async () => (await cluster.availableResources())["CPU"] === 4);
  });

  test("B19, B24, B18: bad input is refused with a code, and nothing changes", async () => {
    await until("earlier tests gave everything back", async () => (await cluster.availableResources())["CPU"] === 4);
    const before = await cluster.availableResources();
    const notAmounts = [1.5, -1, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1e15, "1", 1n];
    const badBundles = [[], [{}], [{ GPU: 0 }], [5], ...notAmounts.map((amount) => [{ CPU: 1 }, { GPU: amount }])];
    for (const [index, bundles] of badBundles.entries()) {
      const asked = cluster.placementGroup(bundles as Record<string, number>[], { name: "refused" });
      await expect(asked, `bundles ${index}`).rejects.toMatchObject({ code: "INVALID_RESOURCES" });
    }
    const chips = cluster.actor(SAMPLE, "Sample").options({ resources: { TPU: 3 } });
    await expect(chips.create(1)).rejects.toMatchObject({
      code: "INVALID_RESOURCES",
      message: expect.stringContaining("TPU is given to one process as 1, 2, 4, 8 only; got 3"),
    });
    await expect(cluster.actor(SAMPLE, "Sample").options({ name: "../x" }).create(1)).rejects.toMatchObject({
      code: "INVALID_NAME",
    });
    await expect(
      cluster
        .actor(SAMPLE, "Sample")
        .options({ gpus: 1 } as never)
        .create(1),
    ).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(cluster.actor(SAMPLE, "Sample").create(() => 1)).rejects.toMatchObject({ code: "NOT_SERIALISABLE" });
    await expect(cluster.getActor("nobody")).rejects.toMatchObject({ code: "ACTOR_NOT_FOUND" });
    await expect(cluster.getPlacementGroup("refused")).rejects.toMatchObject({ code: "NOT_FOUND" });
    expect(await cluster.availableResources()).toEqual(before);
  });

  test("B19: GPU 1e9 waits, says what is missing, and holds nothing meanwhile", async () => {
    const group = await cluster.placementGroup([{ CPU: 1 }, { GPU: 1e9 }]);
    const error = await group.ready({ timeoutMs: 50 }).catch((caught: unknown) => caught);
    expect((error as Error).message).toMatch(/bundle 1: .*GPU/);
    expect((await cluster.availableResources())["CPU"]).toBe(4);
    await group.remove();
  });
});

test("an init that fails says why, and neither a process nor the program's own end waits for it", async () => {
  const program = `
    const { init } = await import(${JSON.stringify(new URL("../src/index.ts", import.meta.url).href)});
    for (const options of [{ numCpus: -1 }, { numGpus: 1_000 }])
      await init(options).catch((error) => console.log(error.code));`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = once(child, "exit");
  const said = await text(child.stdout);
  expect(await ended).toEqual([0, null]);
  expect(said).toBe("INVALID_RESOURCES\nINVALID_DEVICE_COUNT\n");
});

test("two clusters in one process do not see each other, and leave nothing", async () => {
  const one = await init({ numCpus: 1 });
  const two = await init({ numCpus: 1 });
  await one.actor<Sample>(SAMPLE, "Sample").options({ name: "x" }).create(1);
  await expect(two.getActor("x")).rejects.toMatchObject({ code: "ACTOR_NOT_FOUND" });
  await one.close();
  const actor = await two.actor<Sample>(SAMPLE, "Sample").create(1);
  expect(await actor.add(1)).toBe(2);
  await two.close();
  expect([...processesOf(one.id), ...processesOf(two.id)]).toEqual([]);
});
