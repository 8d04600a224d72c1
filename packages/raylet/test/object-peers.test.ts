import { expect, test } from "vitest";
import { OBJECT_OWNER, ownerWorld } from "./owner-world.ts";

test("a session of the owner's own: its end frees what it owned and held", async () => {
  const { peers, ended, session } = ownerWorld();
  const mine = session("inc_1");
  expect(peers.asker(mine.peer)).toBe(OBJECT_OWNER);
  const second = session("inc_1");
  peers.asker(second.peer);
  mine.close("GOODBYE");
  expect(ended).toEqual([]);
  second.close("UNREACHABLE");
  expect(ended).toEqual([OBJECT_OWNER]);
});

test("an owner who never came to us is watched: its goodbye, and another process under its address, end it", async () => {
  const said = ownerWorld();
  said.peers.watch(OBJECT_OWNER);
  said.connected[0]!.opens("inc_1");
  said.connected[0]!.close("GOODBYE");
  expect(said.ended).toEqual([OBJECT_OWNER]);
  const other = ownerWorld();
  other.peers.watch(OBJECT_OWNER);
  other.connected[0]!.opens("inc_2");
  other.connected[0]!.close("UNREACHABLE");
  expect(other.ended).toEqual([OBJECT_OWNER]);
});

test("one that is out of reach has 30 s, counted from when it was reached last", async () => {
  const { peers, ended, connected, clock } = ownerWorld();
  peers.watch(OBJECT_OWNER);
  connected[0]!.opens("inc_1");
  connected[0]!.close("NO_ROUTE");
  for (let second = 1; second < 30; second++) {
    await clock.run(1_000);
    connected[second]!.close("NO_ROUTE");
  }
  expect(ended).toEqual([]);
  await clock.run(1_000);
  connected[30]!.close("NO_ROUTE");
  expect(ended).toEqual([OBJECT_OWNER]);
});

test("while the head is away nobody is given up", async () => {
  const { peers, ended, connected, clock, head } = ownerWorld();
  head.away = true;
  peers.watch(OBJECT_OWNER);
  for (let second = 0; second < 100; second++) {
    connected[second]!.close("UNREACHABLE");
    await clock.run(1_000);
  }
  expect(ended).toEqual([]);
  head.away = false;
  connected[100]!.opens("inc_1");
  connected[100]!.close("GOODBYE");
  expect(ended).toEqual([OBJECT_OWNER]);
});

test("the end of a worker of this node ends what it owned and held at once", async () => {
  const { peers, ended } = ownerWorld();
  peers.watch(OBJECT_OWNER);
  peers.ended("node_a/worker_b");
  peers.ended("node_a/worker_b");
  expect(ended).toEqual([OBJECT_OWNER]);
});
