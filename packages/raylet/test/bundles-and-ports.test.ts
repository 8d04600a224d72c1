import { bundleCommit, bundlePrepare, bundleRelease, portsLease, portsRelease } from "@whipray/rpc";
import { describe, expect, test } from "vitest";
import { GPU1, startedNode, WHOLE } from "./fake-node.ts";

describe("bundles", () => {
  test("prepare, commit, an actor inside, release: what runs inside ends first", async () => {
    const { toRaylet, head, start, workers, settled } = await startedNode();
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
    const { toRaylet, head } = await startedNode();
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
    const { toRaylet, head, endpoint, settled } = await startedNode();
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
    const { start, stop, workers, busy } = await startedNode();
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
