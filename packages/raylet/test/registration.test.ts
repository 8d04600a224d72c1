import { WhiprayError } from "@whipray/core";
import { actorStart, bundlePrepare, bundleRelease, nodeRenewals } from "@whipray/rpc";
import { describe, expect, test } from "vitest";
import { actorSpec, fakeNode, NODE, startedNode, WHOLE } from "./fake-node.ts";

describe("registration", () => {
  test("tells what the node has, then its view after each change", async () => {
    const { head, start, settled } = await startedNode();
    expect(head.registrations).toMatchObject([
      { nodeId: NODE, epoch: 0, total: { CPU: 8 * WHOLE, GPU: 2 * WHOLE }, actors: [], bundles: [] },
    ]);
    expect(head.registrations[0]?.devices[0]).not.toHaveProperty("lockPath");
    await start("actor_a", { units: { CPU: WHOLE } });
    await settled();
    expect(head.views.at(-1)).toMatchObject({ free: { CPU: 7 * WHOLE } });
  });

  test("views are coalesced to one a turn", async () => {
    const { head, start, settled } = await startedNode();
    await settled();
    const before = head.views.length;
    await Promise.all(["actor_a", "actor_b", "actor_c"].map((id) => start(id, { units: { CPU: WHOLE } })));
    await settled();
    expect(head.views.length - before).toBeLessThanOrEqual(2);
    expect(head.views.at(-1)).toMatchObject({ free: { CPU: 5 * WHOLE } });
  });

  test("again after the head came back: with what runs here, and nothing restarts (F6)", async () => {
    const { head, start, settled, workers, endpoint } = await startedNode();
    await start("actor_a");
    const pid = workers[0]!.child.pid;
    endpoint.peers.get("control head/head")!.reset();
    await settled();
    expect(head.registrations[1]).toMatchObject({ epoch: 1, actors: [{ actorId: "actor_a", epoch: 1, pid }] });
    expect(workers[0]!.child.running).toBe(true);
  });

  test("a refused beat makes it register again", async () => {
    const { head, settled } = await startedNode();
    head.epoch = 7;
    await settled(1_500);
    expect(head.registrations.length).toBe(2);
  });

  test("what the head has given away ends before anything new starts (F2, F20)", async () => {
    const { head, start, settled, workers, endpoint, raylet } = await startedNode();
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

  test("an actor whose head went away while its constructor ran is told by a registration", async () => {
    const built = Promise.withResolvers<void>();
    const { head, start, toRaylet, settled, raylet } = await startedNode({ construct: () => built.promise });
    start("actor_a").catch(() => {});
    await settled();
    toRaylet.close();
    await settled();
    expect(raylet.counts.actors).toBe(1);
    built.resolve();
    await settled();
    expect(head.registrations.at(-1)).toMatchObject({ actors: [{ actorId: "actor_a" }] });
    expect(head.registrations.length).toBe(2);
  });

  test("a head that asks again for a start gets the answer, and no second process", async () => {
    const built = Promise.withResolvers<void>();
    const { head, start, toRaylet, settled, workers, network } = await startedNode({ construct: () => built.promise });
    start("actor_a").catch(() => {});
    await settled();
    toRaylet.close();
    const again = network.endpoint("head/head", "head").connect({ to: `${NODE}/raylet`, url: "", purpose: "control" });
    const spec = actorSpec("actor_a");
    const answer = again.invoke(actorStart, {
      spec,
      epoch: 1,
      nodeEpoch: head.epoch,
      leaseId: "lease_ax1",
      devices: [],
    });
    await settled();
    built.resolve();
    expect(await answer).toMatchObject({ ok: true });
    expect(workers.filter((worker) => worker.hosted.length > 0).length).toBe(1);
    expect(head.registrations.length).toBe(1);
  });

  test("a raylet that stops before it was registered says so", async () => {
    const node = fakeNode();
    node.network.down.add("head/head");
    const registered = node.raylet.start();
    await node.settled(1_000);
    const stopped = node.raylet.stop();
    const [outcome] = await Promise.all([registered.catch((error: unknown) => error), node.settled(10_000), stopped]);
    expect(outcome).toMatchObject({ code: "NODE_LEAVING" });
  });

  test("what the head asks for in one batch is done in its order: a release undoes the prepare before it, a stop the start", async () => {
    const { toRaylet, head, raylet, settled, start, stop } = await startedNode();
    const bundles = [{ index: 0, units: { GPU: WHOLE }, devices: [] }];
    const prepared = toRaylet.invoke(bundlePrepare, { pgId: "pg_a", epoch: 1, nodeEpoch: head.epoch, bundles });
    const released = toRaylet.invoke(bundleRelease, { pgId: "pg_a", epoch: 1 });
    const started = start("actor_a");
    const stopped = stop("actor_a");
    await settled();
    expect(await prepared).toMatchObject({ ok: true });
    expect((await released).view.devices).toEqual({ "gpu-0": WHOLE, "gpu-1": WHOLE });
    expect(await started).toMatchObject({ ok: false, failed: { kind: "RAY_KILL" } });
    expect(await stopped).toMatchObject({ found: true });
    expect(raylet.describe()).toMatchObject({ actors: [], bundles: [] });
  });

  test("a grant that overtook the reply to the registration waits for it, and what came behind it waits too", async () => {
    const node = await startedNode();
    const { toRaylet, head, raylet, settled, stop, endpoint } = node;
    const epoch = head.epoch + 1;
    const registering = Promise.withResolvers<void>();
    head.registering = registering.promise;
    endpoint.peers.get("control head/head")!.reset();
    await settled();
    const bundles = [{ index: 0, units: { GPU: WHOLE }, devices: [] }];
    const prepared = toRaylet.invoke(bundlePrepare, { pgId: "pg_a", epoch: 1, nodeEpoch: epoch, bundles });
    const released = toRaylet.invoke(bundleRelease, { pgId: "pg_a", epoch: 1 });
    const grant = { spec: actorSpec("actor_a"), epoch: 2, nodeEpoch: epoch, leaseId: "lease_a", devices: [] };
    const started = toRaylet.invoke(actorStart, grant);
    const stopped = stop("actor_a", 0, 2);
    await settled();
    expect(raylet.describe().view.devices).toEqual({ "gpu-0": WHOLE, "gpu-1": WHOLE });
    registering.resolve();
    await settled();
    expect(await prepared).toMatchObject({ ok: true });
    await released;
    expect(await started).toMatchObject({ ok: false, failed: { kind: "RAY_KILL" } });
    expect(await stopped).toMatchObject({ found: true });
    expect(raylet.describe()).toMatchObject({ actors: [], bundles: [] });
  });

  test("a stop that comes while its start waits for the end of an older epoch: it does not start", async () => {
    const { start, stop, settled, raylet, workers } = await startedNode();
    await start("actor_a", {}, 1);
    const started = start("actor_a", {}, 2);
    const stopped = stop("actor_a", 0, 2);
    await settled();
    expect(await started).toMatchObject({ ok: false, failed: { kind: "RAY_KILL", message: "killed" } });
    expect(await stopped).toMatchObject({ found: true });
    expect(raylet.counts.actors).toBe(0);
    expect(workers.filter((worker) => worker.hosted.length > 0)).toHaveLength(1);
  });

  test("a grant for another registration is refused", async () => {
    const { toRaylet, head, raylet } = await startedNode();
    const grant = { spec: actorSpec("actor_a"), epoch: 1, nodeEpoch: head.epoch - 1, leaseId: "lease_a", devices: [] };
    await expect(toRaylet.invoke(actorStart, grant)).rejects.toMatchObject({ code: "STALE_EPOCH" });
    expect(raylet.counts).toMatchObject({ actors: 0, running: 0, workers: 0, engines: 0, tasks: 0 });
  });

  test("stop ends all, says goodbye, and leaves nothing", async () => {
    const { start, raylet, head, settled, processes } = await startedNode();
    await start("actor_a");
    const stopped = raylet.stop("test");
    await settled();
    await stopped;
    expect(head.left).toEqual(["test"]);
    expect(processes.children.filter((child) => child.running)).toEqual([]);
  });
});

describe("fencing (mechanism 5)", () => {
  test("F12 cut off: peers are renewed: everything ends between 6 and 8 s", async () => {
    const { start, head, network, settled, raylet, endpoint } = await startedNode();
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
    const { start, head, network, settled, raylet, endpoint } = await startedNode();
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
    const { start, network, settled, workers } = await startedNode();
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
    const { settled, network } = await startedNode();
    await settled(3_000);
    const asking = network.endpoint("node_b/raylet", "raylet");
    const answer = await asking.connect({ to: `${NODE}/raylet`, url: "", purpose: "beat" }).invoke(nodeRenewals, {});
    expect(answer.renewedAgoMs).toBeLessThanOrEqual(1_000);
    expect(answer.steadyMs).toBeGreaterThanOrEqual(3_000);
  });
});
