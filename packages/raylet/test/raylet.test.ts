import { WhiprayError } from "@whipray/core";
import {
  actorStart,
  actorStop,
  bundleCommit,
  bundlePrepare,
  bundleRelease,
  engineStart,
  engineStop,
  logTail,
  nodeRenewals,
  portsLease,
  portsRelease,
  processCause,
} from "@whipray/rpc";
import { describe, expect, test } from "vitest";
import { WARM_IDLE_MS } from "../src/worker-pool.ts";
import { WORKER_START_LIMIT_MS } from "../src/workers.ts";
import { actorSpec, type FakeNodeOptions, fakeNode, NODE, WHOLE } from "./fake-node.ts";

async function started(options?: FakeNodeOptions) {
  const node = fakeNode(options);
  const registered = node.raylet.start();
  await node.settled();
  await registered;
  const start = (actorId: string, more: Parameters<typeof actorSpec>[1] = {}, epoch = 1) => {
    const spec = actorSpec(actorId, more);
    const leaseId = `lease_${actorId.slice(6)}x${epoch}`;
    return node.toRaylet.invoke(actorStart, { spec, epoch, nodeEpoch: node.head.epoch, leaseId, devices: [] });
  };
  const stop = (actorId: string, graceMs = 0, epoch = 1) => {
    return node.toRaylet.invoke(actorStop, { actorId, epoch, graceMs, cause: { kind: "RAY_KILL", message: "killed" } });
  };
  return { ...node, start, stop };
}

const GPU1 = { units: { GPU: WHOLE }, placementUnits: { GPU: WHOLE } };

function engineRequest(actorId: string, engineId = "engine_aaaaaa", more = {}) {
  return {
    ...{ engineId, actorId, epoch: 1, argv: [], env: {}, isolation: "env" as const, pty: false },
    ...{ socket: "/s/w", token: "secret", logName: "rollout/0", graceMs: 5_000 },
    ...more,
  };
}

describe("registration", () => {
  test("tells what the node has, then its view after each change", async () => {
    const { head, start, settled } = await started();
    expect(head.registrations).toMatchObject([
      { nodeId: NODE, epoch: 0, total: { CPU: 8 * WHOLE, GPU: 2 * WHOLE }, actors: [], bundles: [] },
    ]);
    expect(head.registrations[0]?.devices[0]).not.toHaveProperty("lockPath");
    await start("actor_a", { units: { CPU: WHOLE } });
    await settled();
    expect(head.views.at(-1)).toMatchObject({ free: { CPU: 7 * WHOLE } });
  });

  test("views are coalesced to one a turn", async () => {
    const { head, start, settled } = await started();
    await settled();
    const before = head.views.length;
    await Promise.all(["actor_a", "actor_b", "actor_c"].map((id) => start(id, { units: { CPU: WHOLE } })));
    await settled();
    expect(head.views.length - before).toBeLessThanOrEqual(2);
    expect(head.views.at(-1)).toMatchObject({ free: { CPU: 5 * WHOLE } });
  });

  test("again after the head came back: with what runs here, and nothing restarts (F6)", async () => {
    const { head, start, settled, workers, endpoint } = await started();
    await start("actor_a");
    const pid = workers[0]!.child.pid;
    endpoint.peers.get("control head/head")!.reset();
    await settled();
    expect(head.registrations[1]).toMatchObject({ epoch: 1, actors: [{ actorId: "actor_a", epoch: 1, pid }] });
    expect(workers[0]!.child.running).toBe(true);
  });

  test("a refused beat makes it register again", async () => {
    const { head, settled } = await started();
    head.epoch = 7;
    await settled(1_500);
    expect(head.registrations.length).toBe(2);
  });

  test("what the head has given away ends before anything new starts (F2, F20)", async () => {
    const { head, start, settled, workers, endpoint, raylet } = await started();
    await start("actor_a");
    head.reply = { dropActors: ["actor_a"] };
    endpoint.peers.get("control head/head")!.reset();
    await settled();
    expect(workers[0]!.child.signals).toEqual(["SIGKILL"]);
    expect(raylet.counts.actors).toBe(0);
    expect(head.ended).toMatchObject([
      { actorId: "actor_a", cause: { kind: "NODE_DIED", message: "the head had given it up" } },
    ]);
  });

  test("a final refusal ends the start, a retryable one is tried again", async () => {
    const node = fakeNode();
    node.head.refusal = new WhiprayError({ code: "NODE_ID_IN_USE", message: "wait", retryable: true });
    const registered = node.raylet.start();
    await node.settled(500);
    node.head.refusal = undefined;
    await node.settled(5_000);
    await registered;
    const other = fakeNode();
    other.head.refusal = new WhiprayError({ code: "UNAUTHENTICATED", message: "no" });
    await expect(other.raylet.start()).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
  });

  test("a grant for another registration is refused", async () => {
    const { toRaylet, head, raylet } = await started();
    const grant = { spec: actorSpec("actor_a"), epoch: 1, nodeEpoch: head.epoch - 1, leaseId: "lease_a", devices: [] };
    await expect(toRaylet.invoke(actorStart, grant)).rejects.toMatchObject({ code: "STALE_EPOCH" });
    expect(raylet.counts).toEqual({ actors: 0, workers: 0, engines: 0 });
  });

  test("stop ends all, says goodbye, and leaves nothing", async () => {
    const { start, raylet, head, settled, processes } = await started();
    await start("actor_a");
    const stopped = raylet.stop("test");
    await settled();
    await stopped;
    expect(head.left).toEqual(["test"]);
    expect(processes.children.filter((child) => child.running)).toEqual([]);
  });
});

describe("actors", () => {
  test("start in a worker that knows its raylet, and tell where they are", async () => {
    const { start, workers } = await started();
    const answer = await start("actor_a", { ...GPU1, env: { RANK: "0" }, args: [Buffer.from("x")] });
    const [worker] = workers;
    expect(answer).toMatchObject({
      ok: true,
      address: `${NODE}/${worker!.workerId}`,
      inc: worker!.endpoint.incarnation,
      pid: worker!.child.pid,
      socket: `/s/${worker!.workerId}`,
      devices: [{ uuid: "gpu-0", units: WHOLE }],
    });
    expect(worker!.child.spec).toMatchObject({
      command: "/node",
      args: ["/worker.js"],
      env: { WHIPRAY_NODE_ID: NODE, WHIPRAY_RAYLET_SOCKET: "/raylet.sock", WHIPRAY_TOKEN_FILE: "/token", PATH: "/bin" },
    });
    expect(worker!.hosted).toMatchObject([
      {
        epoch: 1,
        env: { RANK: "0", CUDA_VISIBLE_DEVICES: "gpu-0" },
        spec: { actorId: "actor_a", args: [] },
        args: [expect.anything()],
      },
    ]);
  });

  test("the same start again gets the same answer, a newer epoch replaces, an older one is refused", async () => {
    const { start, workers, settled } = await started();
    const first = await start("actor_a");
    expect(await start("actor_a")).toEqual(first);
    const second = start("actor_a", {}, 2);
    await settled();
    expect((await second).address).not.toBe(first.address);
    expect(workers[0]!.child.running).toBe(false);
    await expect(start("actor_a", {}, 1)).rejects.toMatchObject({ code: "STALE_EPOCH" });
  });

  test("a start that does not fit is refused with the reason and a fresh view", async () => {
    const { start, workers } = await started({ gpus: 0 });
    const answer = await start("actor_a", GPU1);
    expect(answer).toMatchObject({
      ok: false,
      refused: expect.stringContaining("0 GPU free, 1 GPU wanted"),
      view: { version: 1 },
    });
    expect(workers).toEqual([]);
  });

  test("a constructor that raises: CREATION_FAILED with its error, and nothing is kept", async () => {
    const { start, raylet, head, settled } = await started({
      construct: () => {
        throw new TypeError("bad weights");
      },
    });
    const answer = await start("actor_a", { units: { CPU: WHOLE } });
    expect(answer).toMatchObject({
      ok: false,
      failed: { kind: "CREATION_FAILED", message: expect.stringContaining("bad weights") },
    });
    await settled();
    expect(raylet.counts).toEqual({ actors: 0, workers: 0, engines: 0 });
    expect(answer.view.free).toMatchObject({ CPU: 8 * WHOLE });
    expect(head.ended).toEqual([]);
  });

  test("a worker that dies in the constructor: WORKER_DIED with exit code and last lines", async () => {
    const { start } = await started({
      construct: (worker) => {
        worker.say("cannot map libcuda");
        worker.child.exit({ code: 7, signal: null });
        return new Promise(() => {});
      },
    });
    expect(await start("actor_a")).toMatchObject({
      ok: false,
      failed: {
        kind: "WORKER_DIED",
        exitCode: 7,
        stderrTail: ["cannot map libcuda"],
        logPath: expect.stringContaining("worker_"),
      },
    });
  });

  test("a worker that cannot be started, or never says that it is ready, is a failure with its reason", async () => {
    const node = await started({ ready: () => false });
    node.processes.refusal = "could not start /node: ENOENT";
    expect(await node.start("actor_a")).toMatchObject({ failed: { message: "could not start /node: ENOENT" } });
    node.processes.refusal = undefined;
    const slow = node.start("actor_b");
    await node.settled(WORKER_START_LIMIT_MS);
    const expected = {
      kind: "CREATION_FAILED",
      message: expect.stringContaining("signal SIGKILL before it was ready"),
    };
    expect(await slow).toMatchObject({ failed: expected });
    expect(node.raylet.counts.workers).toBe(0);
  });

  test("F21 an exit is told with code, signal, last lines and log, and the lease is back", async () => {
    const { start, workers, head, settled, toRaylet } = await started();
    await start("actor_a", GPU1);
    workers[0]!.say("Fatal: out of luck");
    workers[0]!.child.exit({ code: null, signal: "SIGSEGV" });
    await settled();
    expect(head.ended).toMatchObject([
      {
        actorId: "actor_a",
        epoch: 1,
        cause: { kind: "WORKER_DIED", signal: "SIGSEGV", stderrTail: ["Fatal: out of luck"], nodeId: NODE },
        view: { devices: { "gpu-0": WHOLE, "gpu-1": WHOLE } },
      },
    ]);
    const process = `${NODE}/${workers[0]!.workerId}`;
    expect(await toRaylet.invoke(processCause, { process, timeoutMs: 0 })).toMatchObject({
      cause: { signal: "SIGSEGV" },
    });
    expect(await toRaylet.invoke(logTail, { process, lines: 5 })).toMatchObject({ lines: ["Fatal: out of luck"] });
  });

  test("exit code 0 is the actor's own wish (Ray: exit_actor)", async () => {
    const { start, workers, head, settled } = await started();
    await start("actor_a");
    workers[0]!.child.exit({ code: 0, signal: null });
    await settled();
    expect(head.ended).toMatchObject([{ cause: { kind: "EXITED", exitCode: 0 } }]);
  });

  test("stop with grace asks, without it kills; the head's cause stands", async () => {
    const { start, stop, workers, head, settled } = await started();
    await start("actor_a");
    await start("actor_b");
    await settled();
    expect(await stop("actor_a", 5_000)).toMatchObject({ found: true });
    expect(await stop("actor_b", 0)).toMatchObject({ found: true });
    expect(await stop("actor_b", 0)).toMatchObject({ found: false });
    const byActor = (id: string) => workers.find((worker) => worker.hosted[0]?.spec.actorId === id)!;
    expect(byActor("actor_a").child.signals).toEqual([]);
    expect(byActor("actor_b").child.signals).toEqual(["SIGKILL"]);
    await settled();
    expect(head.ended).toMatchObject([
      { actorId: "actor_a", cause: { kind: "RAY_KILL", message: "killed", exitCode: 0 } },
      { actorId: "actor_b", cause: { kind: "RAY_KILL", signal: "SIGKILL" } },
    ]);
  });

  test("a worker that ignores the request to leave is killed after the grace", async () => {
    const { start, stop, workers, settled } = await started();
    await start("actor_a");
    workers[0]!.endpoint.handlers.set("worker.exit", () => new Promise(() => {}));
    const stopped = stop("actor_a", 5_000);
    await settled(5_000);
    expect(workers[0]!.child.signals).toEqual([]);
    await settled(500);
    expect(workers[0]!.child.signals).toEqual(["SIGKILL"]);
    await stopped;
  });

  test("stop while it still waits for its process", async () => {
    const { start, stop, settled, raylet } = await started({ ready: () => false });
    const starting = start("actor_a", { units: { CPU: WHOLE } });
    await settled();
    await stop("actor_a");
    expect(await starting).toMatchObject({
      ok: false,
      failed: { kind: "RAY_KILL" },
      view: { free: { CPU: 8 * WHOLE } },
    });
    expect(raylet.counts).toEqual({ actors: 0, workers: 0, engines: 0 });
  });

  test("ends of actors that the head missed are told after it came back", async () => {
    const { start, workers, head, settled, network, endpoint } = await started();
    await start("actor_a");
    network.down.add("head/head");
    workers[0]!.child.exit({ code: 1, signal: null });
    await settled();
    expect(head.ended).toEqual([]);
    network.down.delete("head/head");
    endpoint.peers.get("control head/head")!.close();
    await settled(5_000);
    expect(head.registrations[1]).toMatchObject({ actors: [] });
    expect(head.ended).toMatchObject([{ actorId: "actor_a", cause: { exitCode: 1 } }]);
  });

  test("what a worker's children hold is quarantined until they are gone (P6)", async () => {
    const { start, workers, processes, head, settled } = await started();
    await start("actor_a", GPU1);
    processes.sweepOutcome = { killed: 0, left: 1 };
    workers[0]!.child.exit({ code: 1, signal: null });
    await settled();
    expect(head.ended[0]?.view.devices).toEqual({ "gpu-1": WHOLE });
    processes.sweepOutcome = { killed: 1, left: 0 };
    await settled(2_000);
    expect(head.views.at(-1)?.devices).toEqual({ "gpu-0": WHOLE, "gpu-1": WHOLE });
  });
});

describe("warm workers (mechanism 12)", () => {
  test("none before first use, one after it, none after 30 s idle", async () => {
    const { start, raylet, settled, stop } = await started();
    expect(raylet.counts.workers).toBe(0);
    await start("actor_a");
    await settled();
    expect(raylet.counts.workers).toBe(2);
    const second = await start("actor_b");
    expect(second.ok).toBe(true);
    await settled();
    expect(raylet.counts.workers).toBe(3);
    await stop("actor_a");
    await stop("actor_b");
    await settled(WARM_IDLE_MS);
    expect(raylet.counts.workers).toBe(0);
  });

  test("a blank worker that died does not fail the actor that would have had it", async () => {
    const { start, settled, workers } = await started();
    await start("actor_a");
    await settled();
    workers[1]!.child.exit({ code: 1, signal: null });
    expect(await start("actor_b")).toMatchObject({ ok: true });
  });
});

describe("engines", () => {
  async function withActor(options?: FakeNodeOptions, more = {}) {
    const node = await started(options);
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
      engineId: "engine_aaaaaa",
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
  });

  test("F32 a device that another cluster's raylet holds: DEVICE_LOCKED, nothing is kept", async () => {
    const { launch, guards, secrets, raylet } = await withActor();
    guards.refuseLock("/locks/gpu-0");
    await expect(launch()).rejects.toMatchObject({ code: "DEVICE_LOCKED" });
    expect([secrets.size, raylet.counts.engines]).toEqual([0, 0]);
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

describe("bundles", () => {
  test("prepare, commit, an actor inside, release: what runs inside ends first", async () => {
    const { toRaylet, head, start, workers, settled } = await started();
    const bundles = [0, 1].map((index) => ({ index, units: { CPU: WHOLE, GPU: WHOLE }, devices: [] }));
    const prepared = await toRaylet.invoke(bundlePrepare, { pgId: "pg_a", epoch: 1, nodeEpoch: head.epoch, bundles });
    expect(prepared).toMatchObject({ ok: true, view: { free: { CPU: 6 * WHOLE }, devices: {} } });
    await toRaylet.invoke(bundleCommit, { pgId: "pg_a", epoch: 1, indices: [0, 1] });
    expect(await start("actor_a", { ...GPU1, pgId: "pg_a", bundleIndex: 1 })).toMatchObject({
      ok: true,
      bundleIndex: 1,
      devices: [{ uuid: "gpu-1" }],
    });
    const released = await toRaylet.invoke(bundleRelease, { pgId: "pg_a", epoch: 1 });
    expect(released.view).toMatchObject({ free: { CPU: 8 * WHOLE }, devices: { "gpu-0": WHOLE, "gpu-1": WHOLE } });
    expect(workers[0]!.child.running).toBe(false);
    await settled();
    expect(head.ended).toMatchObject([{ cause: { kind: "GROUP_REMOVED" } }]);
  });

  test("a refusal brings the reason and the fresh view", async () => {
    const { toRaylet, head } = await started();
    const bundles = [{ index: 0, units: { GPU: 3 * WHOLE }, devices: [] }];
    expect(
      await toRaylet.invoke(bundlePrepare, { pgId: "pg_a", epoch: 1, nodeEpoch: head.epoch, bundles }),
    ).toMatchObject({
      ok: false,
      reason: expect.stringContaining("2 GPU free, 3 GPU wanted"),
      view: { devices: { "gpu-0": WHOLE } },
    });
  });

  test("bundles that the head does not know any more are released at registration", async () => {
    const { toRaylet, head, endpoint, settled } = await started();
    const bundles = [{ index: 0, units: { GPU: WHOLE }, devices: [] }];
    await toRaylet.invoke(bundlePrepare, { pgId: "pg_a", epoch: 3, nodeEpoch: head.epoch, bundles });
    head.reply = { dropBundles: [{ pgId: "pg_a", index: 0 }] };
    endpoint.peers.get("control head/head")!.reset();
    await settled();
    expect(head.registrations[1]?.bundles).toEqual([{ pgId: "pg_a", index: 0, epoch: 3, committed: false }]);
    expect(head.views.at(-1)?.devices).toEqual({ "gpu-0": WHOLE, "gpu-1": WHOLE });
  });
});

describe("ports", () => {
  test("are leased to the actor, tested, and back when it ends", async () => {
    const { start, stop, workers, busy } = await started();
    for (let port = 10_000; port < 10_010; port++) busy.add(port);
    await start("actor_a");
    const lease = (count: number) => workers[0]!.toRaylet.invoke(portsLease, { count, owner: "rank", reserve: false });
    const { ports, ip } = await lease(6);
    expect(ip).toBe("10.0.0.1");
    expect(new Set(ports).size).toBe(6);
    expect(ports.every((port) => port >= 10_010)).toBe(true);
    await expect(lease(5)).rejects.toMatchObject({ code: "PORTS_EXHAUSTED", retryable: true });
    await workers[0]!.toRaylet.invoke(portsRelease, { owner: "rank", ports: ports.slice(0, 2) });
    expect((await lease(5)).ports.length).toBe(5);
    await stop("actor_a");
    await start("actor_b");
    const next = workers.find((worker) => worker.hosted[0]?.spec.actorId === "actor_b")!;
    expect((await next.toRaylet.invoke(portsLease, { count: 10, owner: "x", reserve: false })).ports.length).toBe(10);
  });
});

describe("fencing (mechanism 5)", () => {
  test("F12 cut off: peers are renewed: everything ends between 6 and 8 s", async () => {
    const { start, head, network, settled, raylet, endpoint } = await started();
    await start("actor_a");
    const peer = network.endpoint("node_b/raylet", "raylet");
    peer.serve(nodeRenewals, () => ({ renewedAgoMs: 200, steadyMs: 1e6 }));
    head.reply = { peers: [{ nodeId: "node_b", url: "ws://b" }] };
    endpoint.peers.get("control head/head")!.reset();
    await settled();
    network.down.add("head/head");
    await settled(5_000);
    expect(raylet.counts.actors).toBe(1);
    await settled(3_000);
    expect(raylet.counts.actors).toBe(0);
  });

  test("F6 head down: peers have no renewals either: everything stays", async () => {
    const { start, head, network, settled, raylet, endpoint } = await started();
    await start("actor_a", { maxRestarts: 3, fence: true });
    const peer = network.endpoint("node_b/raylet", "raylet");
    peer.serve(nodeRenewals, () => ({ renewedAgoMs: 9_000, steadyMs: 1e6 }));
    head.reply = { peers: [{ nodeId: "node_b", url: "ws://b" }] };
    endpoint.peers.get("control head/head")!.reset();
    await settled();
    network.down.add("head/head");
    await settled(120_000);
    expect(raylet.counts.actors).toBe(1);
  });

  test("alone: maxRestarts 0 stays, of the rest only what asked for it ends", async () => {
    const { start, network, settled, workers } = await started();
    await start("actor_a", { maxRestarts: 0, fence: true });
    await start("actor_b", { maxRestarts: 1, fence: true });
    await start("actor_c", { maxRestarts: 1 });
    network.down.add("head/head");
    await settled(9_000);
    const alive = workers
      .filter((worker) => worker.child.running && worker.hosted[0])
      .map((worker) => worker.hosted[0]!.spec.actorId);
    expect(alive).toEqual(["actor_a", "actor_c"]);
  });

  test("tells peers how fresh its own renewals are", async () => {
    const { settled, network } = await started();
    await settled(3_000);
    const asking = network.endpoint("node_b/raylet", "raylet");
    const answer = await asking.connect({ to: `${NODE}/raylet`, url: "", purpose: "beat" }).invoke(nodeRenewals, {});
    expect(answer.renewedAgoMs).toBeLessThanOrEqual(1_000);
    expect(answer.steadyMs).toBeGreaterThanOrEqual(3_000);
  });
});
