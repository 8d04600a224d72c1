import { actorStart, actorStop, bundleCommit, bundlePrepare, bundleRelease, engineStart } from "@whipray/rpc";
import fc from "fast-check";
import { expect, test } from "vitest";
import { actorSpec, startedNode, WHOLE } from "./fake-node.ts";

type Node = Awaited<ReturnType<typeof startedNode>>;

const actorId = fc.constantFrom("actor_a", "actor_b", "actor_c", "actor_d");
const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant("start" as const),
      actorId,
      gpu: fc.constantFrom(0, 2_500, 5_000, WHOLE),
      inside: fc.nat(4).map((one) => one === 0),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({ do: fc.constant("engine" as const), actorId, manner: fc.constantFrom("stuck", "slow", "") }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant("stop" as const), actorId, graceMs: fc.constantFrom(0, 1_000) }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("crash" as const), actorId, code: fc.constantFrom(0, 1) }) },
  fc.record({ do: fc.constant("engineEnds" as const), at: fc.nat(9) }),
  fc.record({ do: fc.constant("vanish" as const), at: fc.nat(9) }),
  fc.record({ do: fc.constant("group" as const), gpu: fc.constantFrom(5_000, WHOLE) }),
  fc.record({ do: fc.constant("ungroup" as const) }),
  fc.record({ do: fc.constant("headReturns" as const), drop: fc.option(actorId, { nil: undefined }) }),
  fc.record({ do: fc.constant("headAway" as const), ms: fc.constantFrom(500, 4_000, 12_000) }),
  fc.record({ do: fc.constant("time" as const), ms: fc.constantFrom(10, 1_000, 40_000) }),
);
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

/** Plays one step. What a raylet refuses is fine; what it grants is checked by the invariants. */
async function play(node: Node, one: Step, at: number): Promise<void> {
  const { toRaylet, head, workers, guards, network, settled, endpoint } = node;
  const quietly = (promise: Promise<unknown>): void => void promise.catch(() => {});
  const workerOf = (id: string) =>
    workers.findLast((worker) => worker.child.running && worker.hosted[0]?.spec.actorId === id);
  switch (one.do) {
    case "start": {
      const units = one.gpu > 0 ? { GPU: one.gpu } : {};
      const where = one.inside ? { pgId: "pg_a", bundleIndex: -1 } : {};
      const spec = actorSpec(one.actorId, { units, placementUnits: units, ...where });
      quietly(
        toRaylet.invoke(actorStart, {
          spec,
          epoch: at + 1,
          nodeEpoch: head.epoch,
          leaseId: `lease_${at}`,
          devices: [],
        }),
      );
      break;
    }
    case "stop":
      quietly(
        toRaylet.invoke(actorStop, {
          actorId: one.actorId,
          epoch: 1e6,
          graceMs: one.graceMs,
          cause: { kind: "RAY_KILL", message: "x" },
        }),
      );
      break;
    case "crash":
      workerOf(one.actorId)?.child.exit({ code: one.code, signal: null });
      break;
    case "engine": {
      const worker = workerOf(one.actorId);
      if (!worker) return;
      const known = guards.engines.length;
      const fixed = {
        argv: [],
        env: {},
        isolation: "env" as const,
        pty: false,
        socket: "/s",
        token: "t",
        logName: "e",
        graceMs: 5_000,
      };
      const { epoch } = worker.hosted[0]!;
      quietly(worker.toRaylet.invoke(engineStart, { engineId: `engine_${at}`, actorId: one.actorId, epoch, ...fixed }));
      await settled();
      const engine = guards.engines[known];
      if (engine && one.manner === "stuck") engine.stuck = 1;
      if (engine) engine.slow = one.manner === "slow";
      break;
    }
    case "engineEnds":
      guards.engines[one.at]?.exit({ code: 1, signal: null });
      break;
    case "vanish":
      guards.engines[one.at]?.vanish();
      break;
    case "group": {
      const bundles = [{ index: 0, units: { GPU: one.gpu }, devices: [] }];
      quietly(toRaylet.invoke(bundlePrepare, { pgId: "pg_a", epoch: at, nodeEpoch: head.epoch, bundles }));
      await settled();
      quietly(toRaylet.invoke(bundleCommit, { pgId: "pg_a", epoch: at, indices: [0] }));
      break;
    }
    case "ungroup":
      quietly(toRaylet.invoke(bundleRelease, { pgId: "pg_a", epoch: at }));
      break;
    case "headReturns":
      head.reply = one.drop ? { dropActors: [one.drop] } : {};
      endpoint.peers.get("control head/head")!.reset();
      break;
    case "headAway":
      network.down.add("head/head");
      await settled(one.ms);
      network.down.delete("head/head");
      break;
    case "time":
      await settled(one.ms);
  }
}

/** Whoever lives (worker or engine) holds what it was granted; nobody else does, and nothing twice (P4). */
function uniqueHolders({ workers, guards }: Node): void {
  const held = new Map<string, number>();
  for (const worker of workers) {
    const host = worker.hosted[0];
    if (!host) continue;
    const mine = guards.engines.filter((engine) => engine.spec.env["WHIPRAY_LEASE"] === host.leaseId && engine.alive);
    if (!worker.child.running && mine.length === 0) continue;
    for (const { uuid, units } of host.devices) held.set(uuid, (held.get(uuid) ?? 0) + units);
  }
  for (const [uuid, units] of held) expect(units, uuid).toBeLessThanOrEqual(WHOLE);
}

test("P4 under any schedule no device has two live owners, and at the end nothing is left (P5, promise 3)", async () => {
  let granted = 0;
  let launched = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 40, size: "max" }), async (steps) => {
      const node = await startedNode();
      for (const [at, one] of steps.entries()) {
        await play(node, one, at);
        await node.settled();
        uniqueHolders(node);
      }
      granted += node.workers.filter((worker) => worker.hosted.length > 0).length;
      launched += node.guards.engines.length;
      for (const engine of node.guards.engines) engine.vanish();
      await node.settled(3_000);
      const stopped = node.raylet.stop();
      await node.settled(5_000);
      await stopped;
      expect(node.raylet.counts).toMatchObject({ actors: 0, running: 0, workers: 0, engines: 0, tasks: 0 });
      expect(node.processes.children.filter((child) => child.running)).toEqual([]);
      expect(node.guards.engines.filter((engine) => engine.alive)).toEqual([]);
      expect([...node.secrets.keys()]).toEqual([]);
    }),
    { numRuns: 200 },
  );
  // The schedules are worth something: some actors and engines each.
  expect(granted).toBeGreaterThan(400);
  expect(launched).toBeGreaterThan(200);
}, 120_000);

test("what ended is back in the ledger: after any schedule of actors alone all is free", async () => {
  const few = fc.array(fc.constantFrom("start", "stop", "crash"), { maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(few, fc.array(actorId, { minLength: 20, maxLength: 20 }), async (names, ids) => {
      const node = await startedNode();
      for (const [at, name] of names.entries()) {
        const id = ids[at]!;
        if (name === "start") await play(node, { do: "start", actorId: id, gpu: 5_000, inside: false }, at);
        else if (name === "stop") await play(node, { do: "stop", actorId: id, graceMs: 0 }, at);
        else await play(node, { do: "crash", actorId: id, code: 1 }, at);
        await node.settled();
      }
      for (const id of new Set(ids)) await play(node, { do: "stop", actorId: id, graceMs: 0 }, 99);
      await node.settled(100);
      expect(node.head.views.at(-1) ?? node.head.registrations[0]!.view).toMatchObject({
        devices: { "gpu-0": WHOLE, "gpu-1": WHOLE },
      });
    }),
    { numRuns: 40 },
  );
}, 60_000);
