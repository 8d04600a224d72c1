import { WhiprayError } from "@whipray/core";
import { bundleCommit, bundlePrepare, engineStart } from "@whipray/rpc";
import { expect, test } from "vitest";
import { LOOK_EVERY_MS, LOOK_SOON_MS, LOOKS_TO_LOSE, tellingLocks } from "../src/device-watch.ts";
import { ENGINE_MARK, type GuardSpec } from "../src/guards.ts";
import { MemoryGuards } from "../src/memory-guards.ts";
import { MemoryLog } from "../src/memory-logs.ts";
import { FakeEyes } from "./fake-eyes.ts";
import { type FakeNodeOptions, GPU1, startedNode } from "./fake-node.ts";

async function watched(options: Omit<FakeNodeOptions, "eyes"> = {}) {
  const eyes = new FakeEyes();
  const node = await startedNode({ ...options, eyes });
  const view = () => node.raylet.describe().view;
  const look = () => node.settled(LOOK_EVERY_MS);
  return { ...node, eyes, view, look };
}

test("F34: a device that goes bad is held back at once, and at the second look its owner fails with DEVICE_LOST; others go on", async () => {
  const { start, eyes, settled, view, head, raylet } = await watched();
  await start("actor_a", GPU1);
  await start("actor_b", GPU1);
  eyes.see(0, { health: "unhealthy", healthReason: "Xid 79: GPU has fallen off the bus" });
  await settled(LOOK_EVERY_MS - 100);
  await settled(200);
  expect(view().withheld).toEqual({
    "gpu-0": { kind: "unhealthy", reason: "Xid 79: GPU has fallen off the bus" },
  });
  expect(head.ended).toEqual([]);
  await settled(LOOK_SOON_MS);
  expect(head.ended).toMatchObject([
    {
      actorId: "actor_a",
      cause: { kind: "DEVICE_LOST", message: "device gpu-0 (GPU 0) was lost: Xid 79: GPU has fallen off the bus" },
    },
  ]);
  expect(raylet.counts.actors).toBe(1);
  expect(head.views.at(-1)?.devices).toEqual({});
  expect(head.reports.at(-1)?.states[0]).toMatchObject({ uuid: "gpu-0", health: "unhealthy" });
});

test("a device that is well at the next look was never lost, and is offered again", async () => {
  const { start, eyes, settled, look, view, head } = await watched();
  await start("actor_a", GPU1);
  eyes.see(0, { health: "unhealthy", healthReason: "garbled" });
  await settled(LOOK_EVERY_MS);
  eyes.see(0, { health: "ok", healthReason: undefined });
  await look();
  expect(head.ended).toEqual([]);
  expect(view().withheld).toBeUndefined();
});

test("F33: a foreign process on a free device: busy with its pid, not granted; gone, and it is offered again", async () => {
  const { start, eyes, look, view } = await watched();
  eyes.see(0, { users: [{ is: "foreign", pid: 77, name: "python3" }] });
  eyes.see(1, { users: [{ is: "foreign", pid: 78, name: "" }] });
  await look();
  expect(view()).toMatchObject({
    devices: {},
    withheld: { "gpu-0": { kind: "busy", reason: "foreign pid 77 (python3)" } },
  });
  expect(await start("actor_a", GPU1)).toMatchObject({
    ok: false,
    refused: expect.stringContaining(
      "not offered: GPU 0 (busy: foreign pid 77 (python3)), GPU 1 (busy: foreign pid 78)",
    ),
  });
  eyes.see(0, { users: [] });
  await look();
  expect(await start("actor_a", GPU1, 2)).toMatchObject({ ok: true, devices: [{ uuid: "gpu-0" }] });
});

test("F33: the running owner finds a stranger on its device in its log, and goes on", async () => {
  const { start, eyes, look, head, workers } = await watched();
  await start("actor_a", GPU1);
  eyes.see(0, { users: [{ is: "foreign", pid: 77, name: "python3" }] });
  await look();
  expect(head.ended).toEqual([]);
  expect(workers[0]!.child.spec.log.errorTail().join("\n")).toContain("GPU 0) of this actor is busy: foreign pid 77");
});

test("an engine on what it claimed of its actor's bundle is no stranger, and a lost device ends its actor", async () => {
  const { start, eyes, look, view, workers, head, toRaylet } = await watched();
  const bundles = [{ index: 0, units: GPU1.units, devices: [] }];
  await toRaylet.invoke(bundlePrepare, { pgId: "pg_a", epoch: 1, nodeEpoch: head.epoch, bundles });
  await toRaylet.invoke(bundleCommit, { pgId: "pg_a", epoch: 1, indices: [0] });
  await start("actor_a", { units: {}, placementUnits: {}, pgId: "pg_a", bundleIndex: 0 });
  await workers[0]!.toRaylet.invoke(engineStart, {
    ...{ engineId: "engine_a", actorId: "actor_a", epoch: 1, argv: [], env: {}, isolation: "env", pty: false },
    ...{ socket: "/s/w", token: "secret", logName: "d/0", graceMs: 0, claim: GPU1.units },
  });
  eyes.see(0, { users: [{ is: "ours", pid: 5, leaseId: "lease_ax1" }] });
  await look();
  expect(view().withheld).toBeUndefined();
  eyes.see(0, { health: "unhealthy", users: [] });
  for (let times = 0; times < LOOKS_TO_LOSE; times++) await look();
  expect(head.ended).toMatchObject([{ actorId: "actor_a", cause: { kind: "DEVICE_LOST" } }]);
});

test("processes of the lease are no strangers, those of another lease are", async () => {
  const { start, eyes, look, view, workers } = await watched();
  await start("actor_a", GPU1);
  const mine = { is: "ours", pid: 5, leaseId: "lease_ax1" } as const;
  const worker = { is: "ours", pid: 6, workerId: workers[0]!.workerId } as const;
  eyes.see(0, { users: [mine, worker] });
  await look();
  expect(view().withheld).toBeUndefined();
  eyes.see(1, { users: [mine] });
  await look();
  expect(view().withheld?.["gpu-1"]?.reason).toBe("pid 5 of lease_ax1, which does not hold it");
});

test("a pid that is not here counts from its second look on, and only on a device without a lease", async () => {
  const { start, eyes, look, settled, view } = await watched();
  await start("actor_a", GPU1);
  eyes.see(0, { users: [{ is: "unseen", pid: 9 }] });
  eyes.see(1, { users: [{ is: "unseen", pid: 8 }] });
  await settled(LOOK_EVERY_MS - 100);
  await settled(200);
  expect(view().withheld).toBeUndefined();
  await look();
  expect(view().withheld).toEqual({ "gpu-1": { kind: "busy", reason: "foreign pid 8 (not of this container)" } });
});

test("a lock that somebody else holds is told with the holder; what an older incarnation of this node left is ended", async () => {
  const { eyes, look, view, processes } = await watched();
  const swept: string[] = [];
  const sweep = async (variable: string, value: string) => {
    swept.push(`${variable}=${value}`);
    return { killed: 1, left: 0 };
  };
  Object.assign(processes, { sweep });
  eyes.see(0, { holder: { text: "cluster_b node_b, lease lease_b (pid 7)" } });
  eyes.see(1, { holder: { text: "cluster_a node_a, lease lease_o (pid 8)", olderIncarnation: "inc_old" } });
  await look();
  expect(view().withheld?.["gpu-0"]).toEqual({
    kind: "locked",
    reason: "its lock is held by cluster_b node_b, lease lease_b (pid 7)",
  });
  expect(swept).toEqual(["WHIPRAY_RAYLET=inc_old"]);
});

test("F3: after the end of a killed guard the devices of its engine are held back until a look shows nobody on them; a look that failed shows nothing", async () => {
  const { start, stop, eyes, guards, look, view, workers, settled } = await watched();
  await start("actor_a", GPU1);
  await workers[0]!.toRaylet.invoke(engineStart, {
    ...{ engineId: "engine_a", actorId: "actor_a", epoch: 1, argv: [], env: {}, isolation: "env", pty: false },
    ...{ socket: "/s/w", token: "secret", logName: "d/0", graceMs: 0 },
  });
  const [engine] = guards.engines;
  eyes.see(0, { users: [{ is: "foreign", pid: 77, name: "python3" }] });
  engine!.unwatched = true;
  await stop("actor_a");
  const reason = "the guard of engine_a was killed, and no look has shown yet that all of it is gone";
  expect(view().withheld).toEqual({ "gpu-0": { kind: "quarantined", reason } });
  await settled(LOOK_SOON_MS);
  expect(view().withheld?.["gpu-0"]?.kind).toBe("quarantined");
  eyes.stale = "nvidia: nvidia-smi did not end within 5000 ms";
  eyes.devices[0] = { uuid: "gpu-0", health: "ok" };
  await look();
  expect(view().withheld?.["gpu-0"]?.kind).toBe("quarantined");
  eyes.stale = undefined;
  eyes.see(0, { users: [] });
  await look();
  expect(view().withheld).toBeUndefined();
});

test("F5: what a dead raylet left and nobody can kill holds its device back, by name, until it is gone; processes of ours, of the same node, do not count", async () => {
  const leftBy = { node: "node_a", raylet: "inc_dead" };
  const { head, look, view, processes, start } = await watched({ leftBy, sweepOutcome: { killed: 0, left: 1 } });
  const reason = "processes of node_a, which is dead, cannot be killed";
  expect(head.registrations[0]!.view.withheld).toEqual({ "gpu-0": { kind: "quarantined", reason } });
  expect(await start("actor_a", GPU1)).toMatchObject({ ok: true, devices: [{ uuid: "gpu-1" }] });
  expect(await start("actor_b", GPU1)).toMatchObject({ ok: false, refused: expect.stringContaining(reason) });
  await look();
  expect(view().withheld?.["gpu-0"]).toMatchObject({ kind: "quarantined" });
  const sweep = async (variable: string, value: string) => {
    return { killed: 0, left: `${variable}=${value}` === "WHIPRAY_RAYLET=inc_dead" ? 0 : 3 };
  };
  Object.assign(processes, { sweep });
  await look();
  expect(view().withheld).toBeUndefined();
  expect(await start("actor_b", GPU1)).toMatchObject({ ok: true, devices: [{ uuid: "gpu-0" }] });
});

test("a guard's refusal for a lock names who holds it, also a program that wrote no name; nothing else is touched", async () => {
  const guards = new MemoryGuards();
  const asked: string[] = [];
  const telling = tellingLocks(guards, async (paths) => {
    asked.push(...paths);
    return "pid 7 (python3)";
  });
  const spec: GuardSpec = {
    ...{ treeId: "engine_a", mark: ENGINE_MARK, epoch: 1, argv: [], cwd: "/", env: {} },
    ...{ locks: ["/locks/gpu-0"], graceMs: 0, pty: false },
    log: new MemoryLog("memory:engine"),
  };
  guards.refuseLock("/locks/gpu-0");
  await expect(telling.start(spec)).rejects.toMatchObject({
    code: "DEVICE_LOCKED",
    message: "lock /locks/gpu-0 is held; held by pid 7 (python3)",
  });
  expect(asked).toEqual(["/locks/gpu-0"]);
  guards.refusal = new WhiprayError({ code: "SPAWN_FAILED", message: "no memory" });
  await expect(telling.start(spec)).rejects.toMatchObject({ code: "SPAWN_FAILED" });
  expect(asked).toHaveLength(1);
});

test("F35: a look that failed keeps what was known, says so, and ends nobody", async () => {
  const { start, eyes, look, head } = await watched();
  await start("actor_a", GPU1);
  eyes.see(0, { health: "unhealthy", healthReason: "of before" });
  eyes.stale = "nvidia: nvidia-smi did not end within 5000 ms";
  for (let looks = 0; looks < 3; looks++) await look();
  expect(head.ended).toEqual([]);
  expect(head.reports.at(-1)?.stale).toContain("5000 ms");
});

test("nothing waits for a look: with one that hangs, actors start, and no second look begins", async () => {
  const { start, eyes, look } = await watched();
  eyes.blocked = Promise.withResolvers();
  await look();
  const looks = eyes.looks;
  expect(await start("actor_a", GPU1)).toMatchObject({ ok: true });
  await look();
  expect(eyes.looks).toBe(looks);
  eyes.blocked.resolve();
});
