import { execFileSync } from "node:child_process";
import { existsSync, readlinkSync } from "node:fs";
import { RayScheduler, WorkerFailedError } from "@whipray/scheduler";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Cluster } from "whipray";
import { snapshot } from "../src/leak-check.io.ts";
import { describeLeaks } from "../src/leak-check.ts";
import type { RealCluster } from "../src/real-cluster.io.ts";
import type { Resident } from "./fixtures/resident.ts";
import { anyRuns, processesOf, until } from "./outside.ts";
import { needNetwork, networkOf, startNetworkStage } from "./own-network.ts";
import { DEATH_MS, PATIENCE_MS, Rank, rayletAt, type Stage } from "./stage.ts";

// The far raylet has a network namespace: no loopback is shared, and TCP goes through veth pairs.
const RESIDENT = new URL("./fixtures/resident.ts", import.meta.url);
const TEST_MS = 60_000;
let real: RealCluster | undefined;
let cluster: Cluster;
let stage: Stage;

beforeEach(async (context) => {
  needNetwork(context);
  real = await startNetworkStage();
  cluster = await real.connect({ namespace: "test" });
  stage = { real, cluster, scheduler: new RayScheduler({ cluster, destroyTimeoutMs: 2_000 }) };
}, TEST_MS);

afterEach(async (context) => {
  if (real === undefined) return;
  if (context.task.result?.state === "fail") console.error(real.logs());
  await stage.scheduler[Symbol.asyncDispose]();
  expect(describeLeaks(await real.stop())).toBe("");
  real = undefined;
}, TEST_MS);

/** An actor in each bundle of a group over both nodes: near, far. */
async function residents() {
  const bundles = [
    { CPU: 1, near: 1 },
    { CPU: 1, far: 1 },
  ];
  const group = await cluster.placementGroup(bundles, { strategy: "STRICT_SPREAD", name: "both" });
  await group.ready({ timeoutMs: PATIENCE_MS });
  const make = cluster.actor<Resident>(RESIDENT, "Resident");
  const actors = bundles.map((_, index) => make.options({ placement: group.bundle(index), numCpus: 1 }).create());
  return { group, actors: (await Promise.all(actors)) as [Awaited<(typeof actors)[0]>, Awaited<(typeof actors)[0]>] };
}

test(
  "a group spans both nodes, and each has its own machine: addresses, loopback, processes, folders",
  async () => {
    const { head, peers } = networkOf(real!);
    const { group, actors } = await residents();
    const [near, far] = actors;
    expect((await group.table()).bundles.map(({ nodeId }) => nodeId)).toEqual(
      real!.raylets.map(({ nodeId }) => nodeId),
    );
    expect(await Promise.all(actors.map((actor) => actor.add(2)))).toEqual([2, 2]);
    expect((await cluster.nodes()).map(({ ip }) => ip).sort()).toEqual([peers.hostAddress, peers.nodeAddress]);
    const addresses = { lo: ["127.0.0.1"], eth0: [head.nodeAddress], eth1: [peers.nodeAddress] };
    expect(await far.addresses()).toEqual(addresses);
    const headPort = Number(real!.address.split(":")[1]);
    expect(await near.reaches("127.0.0.1", headPort)).toBe(true);
    expect(await far.reaches("127.0.0.1", headPort)).toBe(false);
    expect(await far.reaches(head.hostAddress, headPort)).toBe(true);
    expect((await far.home()).host).toBe("n1");
    expect(await near.entries(rayletAt(real!, "near").runtimeRoot)).not.toEqual([]);
    expect(await far.entries(rayletAt(real!, "near").runtimeRoot)).toEqual([]);
    expect(await far.entries(rayletAt(real!, "far").runtimeRoot)).not.toEqual([]);
    expect(await near.entries(rayletAt(real!, "far").runtimeRoot)).toEqual([]);
  },
  TEST_MS,
);

for (const master of ["near", "far"] as const) {
  test(
    `engines of both nodes are called, stream, and sum up over TCP at the MASTER_ADDR of the ${master} node`,
    async () => {
      const other = master === "near" ? "far" : "near";
      const places = [master, other] as const;
      const ranks = await Promise.all(places.map((place, index) => Rank.start(stage, `r${index}`, place, "Ring")));
      expect(await Promise.all(ranks.map((rank) => rank.call("echo", [rank.id])))).toEqual(["r0/0", "r1/0"]);
      const group = stage.scheduler.placementGroups("r0")[0]!;
      const { ip, port } = await stage.scheduler.getPlacementGroupMasterIpAndPort(group);
      const { hostAddress, nodeAddress } = networkOf(real!).peers;
      expect(ip).toBe(master === "near" ? hostAddress : nodeAddress);
      await Promise.all(ranks.map((rank, index) => rank.call("join", [index, ip, port])));
      expect(await Promise.all(ranks.map((rank, index) => rank.call("all_reduce", [index + 1])))).toEqual([3, 3]);
      for (const rank of ranks) {
        const items: unknown[] = [];
        for await (const item of rank.stream("count_to", [200])) items.push(item);
        expect(items).toEqual(Array.from({ length: 200 }, (_, index) => index));
      }
      const large = new Uint8Array(8 * 2 ** 20);
      expect(await Promise.all(ranks.map((rank) => rank.call("size", [large])))).toEqual(ranks.map(() => large.length));
    },
    TEST_MS,
  );
}

test(
  "SIGKILL of the raylet: its processes, its network namespace and the links to it are gone; it comes back in a new one",
  async () => {
    const { head, peers, namespaces } = networkOf(real!);
    const links = [head.hostLink, peers.hostLink].map((name) => `/sys/class/net/${name}`);
    const raylet = rayletAt(real!, "far");
    const lost = await Rank.start(stage, "lost", "far");
    const planted = await lost.plant();
    const { outcome } = await lost.running(600);
    const [namespace] = namespaces;
    expect(readlinkSync(`/proc/${lost.engine}/ns/net`)).toBe(namespace);
    expect(links.map((path) => existsSync(path))).toEqual([true, true]);
    await raylet.kill();
    expect(await outcome).toBeInstanceOf(WorkerFailedError);
    await until("all of it is gone", DEATH_MS, () => !anyRuns([lost.engine, lost.guard, lost.worker, planted]));
    await until("the links are gone", DEATH_MS, () => !links.some((path) => existsSync(path)));
    expect(snapshot({ namespaces: [namespace!] }).processes.filter(({ holds }) => holds.includes(namespace!))).toEqual(
      [],
    );
    await stage.scheduler.deleteWorkers("lost");
    await raylet.restart();
    expect(namespaces).toHaveLength(2);
    expect(await (await Rank.start(stage, "again", "far")).call("echo", ["again"])).toBe("again");
  },
  TEST_MS,
);

test(
  "the leak check finds a process, a mount and a link that hold a node's network namespace",
  async () => {
    const { head, namespaces } = networkOf(real!);
    const [namespace] = namespaces as [string];
    const seen = snapshot({ namespaces: [namespace], links: [head.hostLink] });
    expect(seen.links).toEqual([head.hostLink]);
    const raylet = rayletAt(real!, "far").pid;
    expect(seen.processes.find(({ pid }) => pid === raylet)?.holds).toContain(namespace);
    expect(processesOf(real!.clusterId)).toContain(raylet);
    const name = `whipray-${process.pid}`;
    execFileSync("ip", ["netns", "attach", name, String(raylet)]);
    try {
      expect(snapshot({ namespaces: [namespace] }).files).toContain(`/run/netns/${name}`);
    } finally {
      execFileSync("ip", ["netns", "delete", name]);
    }
    expect(snapshot({ namespaces: [namespace] }).files).not.toContain(`/run/netns/${name}`);
  },
  TEST_MS,
);
