import { bundleCommit, bundlePrepare, engineStart, taskLease, taskWaiting } from "@whipray/rpc";
import { describe, expect, test } from "vitest";
import { LOOK_EVERY_MS, LOOK_SOON_MS } from "../src/device-watch.ts";
import { FRESH_MS, GRANT_LOOK_MS } from "../src/grant-look.ts";
import { FakeEyes } from "./fake-eyes.ts";
import { GPU1, NODE, startedNode } from "./fake-node.ts";

const STRANGER = { users: [{ is: "foreign", pid: 77, name: "python3" }] } as const;
const BUSY = "GPU 0 is not offered (busy: foreign pid 77 (python3))";

async function looked() {
  const eyes = new FakeEyes();
  const node = await startedNode({ eyes });
  return { ...node, eyes, view: () => node.raylet.describe().view };
}

describe("F33: a stranger that came after the last look is seen before a grant", () => {
  test("an actor is refused with its pid, the device is withheld, and the next one gets another", async () => {
    const { start, eyes, view, workers, head, settled } = await looked();
    eyes.see(0, STRANGER);
    expect(await start("actor_a", GPU1)).toMatchObject({ ok: false, refused: BUSY });
    expect(workers).toHaveLength(0);
    expect(view()).toMatchObject({
      devices: { "gpu-1": 10_000 },
      withheld: { "gpu-0": { kind: "busy", reason: "foreign pid 77 (python3)" } },
    });
    await settled();
    expect(head.views.at(-1)?.withheld).toHaveProperty("gpu-0");
    expect(await start("actor_a", GPU1, 2)).toMatchObject({ ok: true, devices: [{ uuid: "gpu-1" }] });
  });

  test("it is offered again a moment after the stranger is gone", async () => {
    const { start, eyes, view, settled } = await looked();
    eyes.see(0, STRANGER);
    await start("actor_a", GPU1);
    eyes.see(0, { users: [] });
    await settled(LOOK_SOON_MS);
    expect(view().withheld).toBeUndefined();
  });

  test("a reservation is refused and given back whole", async () => {
    const { eyes, head, toRaylet, view } = await looked();
    eyes.see(0, STRANGER);
    const bundles = [0, 1].map((index) => ({ index, units: GPU1.units, devices: [] }));
    const ask = { pgId: "pg_a", epoch: 1, nodeEpoch: head.epoch, bundles };
    const answer = await toRaylet.invoke(bundlePrepare, ask);
    expect(answer).toMatchObject({ ok: false, reason: BUSY });
    expect(answer.view.devices).toEqual({ "gpu-1": 10_000 });
    eyes.see(0, { users: [] });
    expect(view().devices).toEqual({ "gpu-1": 10_000 });
  });

  test("bundles that are held already are not looked at again", async () => {
    const { eyes, head, toRaylet, settled } = await looked();
    const bundles = [{ index: 0, units: GPU1.units, devices: [] }];
    const ask = { pgId: "pg_a", epoch: 1, nodeEpoch: head.epoch, bundles };
    expect(await toRaylet.invoke(bundlePrepare, ask)).toMatchObject({ ok: true });
    await settled(FRESH_MS + 1);
    eyes.see(0, STRANGER);
    expect(await toRaylet.invoke(bundlePrepare, ask)).toMatchObject({ ok: true });
    expect(eyes.asked).toBe(1);
  });

  test("a task waits for another device, and says why", async () => {
    const { eyes, network, settled } = await looked();
    for (const index of [0, 1]) eyes.see(index, STRANGER);
    const driver = network.endpoint("head/driver_a", "driver");
    const raylet = driver.connect({ to: `${NODE}/raylet`, url: "memory:a", purpose: "control" });
    const fixed = { jobId: "job_a", namespace: "default", bundleIndex: -1, env: {}, isolation: "env" as const };
    const lease = raylet.invoke(taskLease, { leaseId: "lease_1", units: GPU1.units, ...fixed });
    await settled();
    const { reason } = await raylet.invoke(taskWaiting, { leaseId: "lease_1" });
    expect(reason).toContain("not offered: GPU 0 (busy: foreign pid 77 (python3)), GPU 1 (busy");
    eyes.see(1, { users: [] });
    await settled(LOOK_SOON_MS);
    expect((await lease).lease?.devices).toMatchObject([{ uuid: "gpu-1" }]);
  });

  test("engines do not get what they claim of their actor's bundle; their next start does, when the stranger is gone", async () => {
    const { eyes, head, toRaylet, start, workers, settled } = await looked();
    const bundles = [{ index: 0, units: GPU1.units, devices: [] }];
    await toRaylet.invoke(bundlePrepare, { pgId: "pg_a", epoch: 1, nodeEpoch: head.epoch, bundles });
    await toRaylet.invoke(bundleCommit, { pgId: "pg_a", epoch: 1, indices: [0] });
    await start("actor_a", { units: {}, placementUnits: {}, pgId: "pg_a", bundleIndex: 0 });
    await settled(FRESH_MS + 1);
    eyes.see(0, STRANGER);
    const engine = {
      ...{ actorId: "actor_a", epoch: 1, argv: [], env: {}, isolation: "env" as const, pty: false, socket: "/s/w" },
      ...{ token: "secret", logName: "d/0", graceMs: 0, claim: GPU1.units },
    };
    const { toRaylet: worker } = workers[0]!;
    await expect(worker.invoke(engineStart, { ...engine, engineId: "engine_a" })).rejects.toMatchObject({
      code: "CLAIM_REFUSED",
      message: expect.stringContaining(BUSY),
    });
    eyes.see(0, { users: [] });
    await settled(FRESH_MS + 1);
    expect(await worker.invoke(engineStart, { ...engine, engineId: "engine_b" })).toMatchObject({
      pid: expect.any(Number),
    });
  });
});

test("who was seen a moment ago and has given the device back is no stranger to the next one", async () => {
  const { start, stop, eyes, settled, view } = await looked();
  await start("actor_a", GPU1);
  await settled(FRESH_MS + 1);
  eyes.see(0, { users: [{ is: "ours", pid: 5, leaseId: "lease_ax1" }] });
  await start("actor_b", GPU1);
  await settled(FRESH_MS / 2);
  const stopped = stop("actor_a");
  await settled();
  await stopped;
  eyes.see(0, { users: [] });
  expect(await start("actor_c", GPU1)).toMatchObject({ ok: true, devices: [{ uuid: "gpu-0" }] });
  expect(view().withheld).toBeUndefined();
  expect(eyes.asked).toBe(3);
});

describe("what a grant's look costs", () => {
  test("grants of one moment share a look; one without devices asks for none", async () => {
    const { start, eyes, settled } = await looked();
    await Promise.all([start("actor_a", GPU1), start("actor_b", GPU1), start("actor_c")]);
    expect(eyes.asked).toBe(1);
    await start("actor_d");
    await settled(FRESH_MS + 1);
    expect(eyes.asked).toBe(1);
  });

  test("a tool that hangs delays a grant by its limit, the next ones not at all, and no other look begins", async () => {
    const { start, eyes, settled, view } = await looked();
    eyes.late = Promise.withResolvers();
    const first = start("actor_a", GPU1);
    await settled(GRANT_LOOK_MS - 100);
    // The device is taken, so that others do not wait for it; those without devices go on.
    expect(view().devices).toEqual({ "gpu-1": 10_000 });
    expect(await start("actor_c")).toMatchObject({ ok: true });
    await settled(100);
    expect(await first).toMatchObject({ ok: true });
    expect(await start("actor_b", GPU1)).toMatchObject({ ok: true });
    expect(eyes.asked).toBe(1);
    eyes.late.resolve();
    await settled(LOOK_EVERY_MS);
  });

  test("an actor that is stopped while it waits for the look gives its device back", async () => {
    const { start, stop, eyes, settled, view } = await looked();
    eyes.late = Promise.withResolvers();
    const starting = start("actor_a", GPU1);
    await settled();
    const stopped = stop("actor_a");
    eyes.late.resolve();
    await settled();
    expect(await starting).toMatchObject({ ok: false, failed: { kind: "RAY_KILL" } });
    expect(await stopped).toMatchObject({ found: true });
    expect(view().devices).toEqual({ "gpu-0": 10_000, "gpu-1": 10_000 });
  });
});
