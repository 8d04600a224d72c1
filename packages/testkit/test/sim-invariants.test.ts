import type { ActorSpec, GroupCreate } from "@whipray/rpc";
import { describe, expect, test } from "vitest";
import type { ObjectRef } from "whipray";
import { type Asked, type CallRecord, History, type Hold, type Life, WRITTEN_AFTER_MS } from "../src/sim/history.ts";
import {
  type ActorSeen,
  doubleLives,
  forgotten,
  type GroupSeen,
  halfPlaced,
  lateCalls,
  type NodeSnapshot,
  overbooked,
  sharedNames,
  unconserved,
} from "../src/sim/invariants.ts";
import { storeViolations } from "../src/sim/object-rules.ts";
import type { ObjectLife, SimObjects } from "../src/sim/sim-objects.ts";

// A checker that finds nothing proves nothing: each of these is shown the violation that it is there for.

function hold(from: number, to: number | undefined, units = 10_000, device = "GPU-0"): Hold {
  return { device, units, holder: `holder ${from}`, from, to };
}

describe("P4: a device with two owners", () => {
  test("is found where holders overlap, by whole devices and by shares", () => {
    expect(overbooked([hold(1, 5), hold(4, 6)])).toHaveLength(1);
    expect(overbooked([hold(1, 9, 6_000), hold(2, 8, 4_000), hold(3, 7, 1)])).toHaveLength(1);
  });

  test("is found where nobody knows when the first one ended", () => {
    expect(overbooked([hold(1, undefined), hold(900, 901)])).toHaveLength(1);
  });

  test("is not found where one follows the other, in shares of one, or on two devices", () => {
    expect(overbooked([hold(1, 4), hold(4, 6)])).toEqual([]);
    expect(overbooked([hold(1, 9, 6_000), hold(2, 8, 4_000)])).toEqual([]);
    expect(overbooked([hold(1, 9), hold(2, 8, 10_000, "GPU-1")])).toEqual([]);
  });
});

test("an actor that lived twice under one epoch is found, one that was restarted is not", () => {
  const life = (epoch: number, process: string): Life => {
    return { actorId: "actor_a", epoch, process, from: 1, fromMs: 1, to: 2, toMs: 2 };
  };
  expect(doubleLives([life(1, "n1/a"), life(1, "n2/b")])).toHaveLength(1);
  expect(doubleLives([life(1, "n1/a"), life(2, "n2/b")])).toEqual([]);
});

describe("a ledger", () => {
  const history = {
    actors: new Map([["actor_a", asked({ units: { CPU: 10_000, GPU: 5_000 } } as unknown as ActorSpec)]]),
    groups: new Map([["pg_a", asked({ bundles: [{ CPU: 20_000 }] } as unknown as GroupCreate)]]),
  };
  const node = (cpu: number, gpu: number, leases = 1, tasks = 0): NodeSnapshot => ({
    nodeId: "node_a",
    total: { CPU: 40_000, GPU: 10_000 },
    view: { version: 1, free: { CPU: cpu }, devices: { "GPU-0": gpu } },
    bundles: [{ pgId: "pg_a", index: 0, epoch: 1, committed: true }],
    actors: [{ actorId: "actor_a", epoch: 1, address: "node_a/w", inc: "inc_a", pid: 1 }],
    leases,
    tasks,
  });

  test("that adds up is fine", () => expect(unconserved(node(10_000, 5_000), history)).toEqual([]));
  test("that has more than there is is found", () => expect(unconserved(node(10_001, 5_000), history)).toHaveLength(1));
  test("that has lost a share is found once nobody starts or ends", () => {
    expect(unconserved(node(10_000, 4_999), history)).toHaveLength(1);
    expect(unconserved(node(10_000, 4_999, 2), history)).toEqual([]);
    expect(unconserved(node(10_000, 4_999, 1, 1), history)).toEqual([]);
  });
});

describe("P16: a group", () => {
  const group = (state: string, strategy: string, nodeIds: (string | undefined)[]): GroupSeen => {
    const places = nodeIds.map((nodeId) => (nodeId === undefined ? null : { nodeId }));
    return { pgId: "pg_a", namespace: "x", state, strategy, places };
  };
  const check = (...groups: GroupSeen[]) => halfPlaced({ groups, lives: (nodeId) => nodeId !== "gone" });

  test("that is CREATED without a place, or on a dead node, is found", () => {
    expect(check(group("CREATED", "PACK", ["a", undefined]))).toHaveLength(1);
    expect(check(group("CREATED", "PACK", ["a", "gone"]))).toHaveLength(1);
  });
  test("that is PENDING with some places is found", () => {
    expect(check(group("PENDING", "PACK", ["a", undefined]))).toHaveLength(1);
  });
  test("that breaks its strategy is found", () => {
    expect(check(group("CREATED", "STRICT_PACK", ["a", "b"]))).toHaveLength(1);
    expect(check(group("CREATED", "STRICT_SPREAD", ["a", "a"]))).toHaveLength(1);
  });
  test("that is whole, or says RESCHEDULING, is fine", () => {
    expect(
      check(group("CREATED", "STRICT_SPREAD", ["a", "b"]), group("RESCHEDULING", "PACK", ["a", undefined])),
    ).toEqual([]);
  });
});

test("a name that two living actors have is found; that of a dead one is free", () => {
  const actor = (state: string, namespace = "x") => seen({ state, namespace, name: "n" });
  expect(sharedNames({ groups: [], actors: [actor("ALIVE"), actor("RESTARTING")] })).toHaveLength(1);
  expect(sharedNames({ groups: [], actors: [actor("ALIVE"), actor("DEAD"), actor("ALIVE", "y")] })).toEqual([]);
});

test("P11: a call that is open after its bound, or ended after it, is found", () => {
  const call = (endedAtMs: number | undefined): CallRecord => {
    return { token: "t", actorId: "a", boundAtMs: 100, endedAtMs, outcome: undefined };
  };
  expect(lateCalls([call(undefined)], 101)).toHaveLength(1);
  expect(lateCalls([call(101)], 500)).toHaveLength(1);
  expect(lateCalls([call(undefined), call(100)], 100)).toEqual([]);
  const history = new History();
  const late = call(undefined);
  history.called(late);
  history.callEnded(late, "ok", 101);
  expect(history.found).toHaveLength(1);
});

test("P9 and P10: a call that ran twice, and one that overtook another, are found", () => {
  const history = new History();
  history.ran("t1", "lane", 0);
  history.ran("t3", "lane", 2);
  history.ran("t2", "lane", 1);
  history.ran("t1", "other lane", 0);
  expect(history.found).toEqual(["lane: call 1 began after call 2", "call t1 ran 2 times"]);
});

describe("an object", () => {
  const life = (more: Partial<ObjectLife> = {}): ObjectLife => {
    const owner = { alive: true } as SimObjects;
    return {
      ref: { id: "obj_a" } as ObjectRef,
      owner,
      mark: 7,
      words: 3,
      keeper: () => true,
      disposed: false,
      ...more,
    };
  };

  test("that is not what was put is found", () => {
    const history = new History();
    history.got("obj_a", new Uint32Array([7, 7, 7]), life());
    expect(history.found).toEqual([]);
    for (const wrong of [[7, 7], [7, 7, 8], [8, 8, 8], []]) history.got("obj_a", new Uint32Array(wrong), life());
    history.got("obj_a", undefined, life());
    expect(history.found).toHaveLength(5);
  });

  test("that is not there is found where nothing happened to it; an error that nobody may get is found in any case", () => {
    const gone = [{ disposed: true }, { owner: { alive: false } as SimObjects }, { keeper: () => false }];
    const history = new History();
    for (const more of gone) history.gotNone("get", life(more), "OBJECT_LOST", 0);
    history.gotNone("get", life(), "OBJECT_LOST", 60_000);
    history.gotNone("get", life(), "DEADLINE_EXCEEDED", 0);
    expect(history.found).toEqual([]);
    history.gotNone("get", life({ keeper: undefined }), "OWNER_DIED", 0);
    history.gotNone("get", life(), "OBJECT_FREED", 0);
    history.gotNone("get", life({ disposed: true }), "OBJECT_CORRUPT", 0);
    expect(history.found).toHaveLength(3);
  });
});

test("a store whose table counts other bytes than there are, or that has more than it may, is found", () => {
  const store = { nodeId: "node_a", capacityBytes: 100, usedBytes: 40, pooledBytes: 20, segmentBytes: 60 };
  expect(storeViolations(store)).toEqual([]);
  expect(storeViolations({ ...store, pooledBytes: 10 })).toHaveLength(1);
  expect(storeViolations({ ...store, capacityBytes: 50 })).toHaveLength(1);
});

describe("P7: a head that", () => {
  const head = (...actors: ActorSeen[]) => ({ groups: [], actors });
  const history = (set: Partial<Asked<unknown>>) => {
    const known = new History();
    known.actors.set("actor_a", { ...asked({} as ActorSpec), ...set } as Asked<ActorSpec>);
    return known;
  };

  test("forgot an acknowledged actor or group is found", () => {
    expect(forgotten(head(), history({}))).toHaveLength(1);
    const groups = new History();
    groups.groups.set("pg_a", asked({} as GroupCreate));
    expect(forgotten(head(), groups)).toHaveLength(1);
  });
  test("brought back what was killed, or what was dead, is found", () => {
    const row = seen({ epoch: 3 });
    expect(forgotten(head(row), history({ ended: "ok" }))).toHaveLength(1);
    const dead = history({});
    for (const atMs of [0, WRITTEN_AFTER_MS]) dead.shown([seen({ epoch: 3, state: "DEAD" })], atMs);
    expect(forgotten(head(row), dead)).toHaveLength(1);
  });
  test("went back to an older epoch is found", () => {
    const known = history({});
    known.shown([seen({ epoch: 4 })], 0);
    expect(forgotten(head(seen({ epoch: 3 })), known)).toHaveLength(1);
  });
  test("never acknowledged something may know it or not", () => {
    expect(forgotten(head(), history({ created: "unknown" }))).toEqual([]);
  });
});

function seen(more: { state?: string; epoch?: number; namespace?: string; name?: string }): ActorSeen {
  const { state = "ALIVE", epoch = 1, namespace = "x", name } = more;
  return { spec: { actorId: "actor_a", namespace, name }, state, epoch };
}

function asked<Request>(request: Request): Asked<Request> {
  return { request, created: "ok", ended: undefined };
}
