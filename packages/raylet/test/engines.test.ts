import { bundleCommit, bundlePrepare, bundleRelease, engineStart, engineStop } from "@whipray/rpc";
import { describe, expect, test } from "vitest";
import { type FakeNodeOptions, NODE, startedNode, WHOLE } from "./fake-node.ts";

function engineRequest(actorId: string, engineId = "engine_aaaaaa", more = {}) {
  return {
    ...{ engineId, actorId, epoch: 1, argv: [], env: {}, isolation: "env" as const, pty: false },
    ...{ socket: "/s/w", token: "secret", logName: "rollout/0", graceMs: 5_000 },
    ...more,
  };
}

describe("engines", () => {
  async function withActor(options?: FakeNodeOptions, more = {}) {
    const node = await startedNode(options);
    await node.start("actor_a", { units: { CPU: 2 * WHOLE, GPU: WHOLE }, placementUnits: { GPU: WHOLE }, ...more });
    const [worker] = node.workers;
    const launch = (id?: string, request = {}) =>
      worker!.toRaylet.invoke(engineStart, engineRequest("actor_a", id, request));
    return { ...node, worker: worker!, launch };
  }

  test("start under a guard with the lease's devices, locks and a complete environment", async () => {
    const { launch, guards, secrets } = await withActor();
    expect(await launch(undefined, { env: { RANK: "0" } })).toMatchObject({
      pid: 50_001,
      logPath: expect.stringContaining("rollout-0"),
    });
    expect(guards.engines[0]!.spec).toMatchObject({
      treeId: "engine_aaaaaa",
      argv: ["python3", "-m", "whipray_engine"],
      locks: ["/locks/gpu-0"],
      cwd: "/work",
      env: {
        RANK: "0",
        CUDA_VISIBLE_DEVICES: "gpu-0",
        OMP_NUM_THREADS: "2",
        PYTHONPATH: "/work:/engine",
        WHIPRAY_ENGINE_SOCKET: "/s/w",
        WHIPRAY_ENGINE_TOKEN_FILE: "/secret/engine_aaaaaa.token",
        WHIPRAY_ENGINE_ADDRESS: `${NODE}/engine_aaaaaa`,
        WHIPRAY_LEASE: "lease_ax1",
        WHIPRAY_PROTECTED_ENV: expect.stringContaining("CUDA_VISIBLE_DEVICES"),
      },
    });
    expect(secrets.get("engine_aaaaaa.token")).toBe("secret");
  });

  test("the engine is told what to compare with what it sees, and nothing where a NOSET flag leaves that to the user", async () => {
    const { launch, guards } = await withActor();
    await launch();
    await launch("engine_b", { env: { NOSET: "1" } });
    await launch("engine_c", { isolation: "none" });
    const told = guards.engines.map(({ spec }) => spec.env["WHIPRAY_DEVICES"]);
    expect(told).toEqual(["GPU=1", "GPU=*", undefined]);
  });

  test("its end is told to the worker with exit code, and its token is gone", async () => {
    const { launch, guards, worker, settled, secrets } = await withActor();
    await launch();
    guards.engines[0]!.spec.log.write("err", Buffer.from("CUDA error\n"));
    guards.engines[0]!.exit({ code: 9, signal: null });
    await settled();
    expect(worker.enginesEnded).toMatchObject([
      { engineId: "engine_aaaaaa", cause: { exitCode: 9, stderrTail: ["CUDA error"] } },
    ]);
    expect(secrets.size).toBe(0);
  });

  test("only the actor's own worker may start and stop them", async () => {
    const node = await withActor();
    await node.launch();
    await node.start("actor_b");
    const other = node.workers.find((worker) => worker.hosted[0]?.spec.actorId === "actor_b")!;
    const foreign = other.toRaylet.invoke(engineStart, engineRequest("actor_a", "engine_b"));
    await expect(foreign).rejects.toMatchObject({ code: "FORBIDDEN" });
    const stop = other.toRaylet.invoke(engineStop, { engineId: "engine_aaaaaa", graceMs: 0 });
    await expect(stop).rejects.toMatchObject({ code: "FORBIDDEN" });
    await expect(node.launch("engine_c", { epoch: 2 })).rejects.toMatchObject({ code: "STALE_EPOCH" });
    await expect(node.launch("engine_aaaaaa")).rejects.toMatchObject({ code: "ENGINE_EXISTS" });
    await expect(
      node.launch("engine_d", { devices: [{ uuid: "gpu-1", index: 1, resource: "GPU", units: 1 }] }),
    ).rejects.toMatchObject({
      code: "INVALID_DEVICES",
    });
    await expect(node.launch("engine_e", { env: { CUDA_VISIBLE_DEVICES: "7" } })).rejects.toMatchObject({
      code: "INVALID_ENV",
    });
    expect(node.guards.engines.length).toBe(1);
    expect([...node.secrets.keys()]).toEqual(["engine_aaaaaa.token"]);
  });

  test("F32 a device that another cluster's raylet holds: DEVICE_LOCKED, nothing is kept", async () => {
    const { launch, guards, secrets, raylet } = await withActor();
    guards.refuseLock("/locks/gpu-0");
    await expect(launch()).rejects.toMatchObject({ code: "DEVICE_LOCKED" });
    expect([secrets.size, raylet.counts.engines]).toEqual([0, 0]);
  });

  test("engines claim their actor's bundle once for all of them; it is given back with the actor, and never twice", async () => {
    const node = await startedNode();
    const { head, toRaylet, guards } = node;
    const order = { pgId: "pg_a", epoch: 1 };
    const bundles = [{ index: 0, units: { CPU: 3 * WHOLE, GPU: WHOLE }, devices: [] }];
    await toRaylet.invoke(bundlePrepare, { ...order, nodeEpoch: head.epoch, bundles });
    await toRaylet.invoke(bundleCommit, { ...order, indices: [0] });
    const none = { units: {}, placementUnits: {}, pgId: "pg_a", bundleIndex: 0 };
    await node.start("actor_a", none);
    await node.start("actor_b", none);
    const launch = (actorId: string, engineId: string, claim?: Record<string, number>) => {
      const worker = node.workers.find(({ hosted }) => hosted[0]?.spec.actorId === actorId)!;
      return worker.toRaylet.invoke(engineStart, engineRequest(actorId, engineId, claim && { claim }));
    };
    const claim = { CPU: 3 * WHOLE, GPU: WHOLE };
    await launch("actor_a", "engine_a", claim);
    await launch("actor_a", "engine_b", claim);
    await launch("actor_a", "engine_c");
    for (const { spec } of guards.engines) {
      expect(spec.env).toMatchObject({ CUDA_VISIBLE_DEVICES: "gpu-0", OMP_NUM_THREADS: "3" });
      expect(spec.locks).toEqual(["/locks/gpu-0"]);
    }
    await expect(launch("actor_b", "engine_d", claim)).rejects.toMatchObject({
      code: "CLAIM_REFUSED",
      message: expect.stringContaining("bundle 0 of pg_a"),
    });
    await node.stop("actor_a");
    await launch("actor_b", "engine_e", claim);
    const released = toRaylet.invoke(bundleRelease, { ...order, indices: [0] });
    expect(await released).toMatchObject({ view: { devices: { "gpu-0": WHOLE } } });
    await node.start("actor_c");
    await expect(launch("actor_c", "engine_f", claim)).rejects.toMatchObject({ code: "CLAIM_REFUSED" });
  });

  test("stop answers when no process is left", async () => {
    const { launch, worker } = await withActor();
    await launch();
    const stop = () => worker.toRaylet.invoke(engineStop, { engineId: "engine_aaaaaa", graceMs: 100 });
    expect(await stop()).toEqual({ found: true, killed: 1, left: 0 });
    expect(await stop()).toEqual({ found: false, killed: 0, left: 0 });
  });

  test("when its actor dies they go first, then the lease (F1, F21)", async () => {
    const { launch, worker, guards, head, settled } = await withActor();
    await launch();
    worker.child.exit({ code: null, signal: "SIGKILL" });
    await settled();
    expect(new Set(guards.engines[0]!.stops)).toEqual(new Set([5_000]));
    expect(head.ended).toMatchObject([{ actorId: "actor_a", view: { devices: { "gpu-0": WHOLE } } }]);
  });

  test("F23 a tree that cannot be killed: the device is quarantined, and offered again when it went", async () => {
    const { launch, guards, stop, head, settled } = await withActor();
    await launch();
    guards.engines[0]!.stuck = 1;
    await stop("actor_a");
    await settled();
    expect(head.views.at(-1)).toMatchObject({ free: { CPU: 8 * WHOLE }, devices: { "gpu-1": WHOLE } });
    expect(head.views.at(-1)?.devices).not.toHaveProperty("gpu-0");
    guards.engines[0]!.vanish();
    await settled();
    expect(head.views.at(-1)?.devices).toEqual({ "gpu-0": WHOLE, "gpu-1": WHOLE });
  });
});
