import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { LocalScheduler, WorkerCreationError } from "../src/index.ts";
import { MemoryCluster } from "./memory-cluster.ts";
import { engineClasses } from "./memory-engine.ts";

const PYTHONPATH = fileURLToPath(new URL("./engines/", import.meta.url));
const DEFERRED = { cpu: 1, gpu: 1, mem: 0.1, rayPlacementStrategy: "deferred", envVars: { PYTHONPATH } } as const;

describe("placement deferred on a real cluster", () => {
  let scheduler: LocalScheduler;
  let folder: string;
  beforeAll(() => {
    // Nodes of one device: a worker of two spans two bundles, here of the same machine.
    scheduler = new LocalScheduler({ numCpus: 8, numGpus: 4, nGpusPerNode: 1, startupTimeoutMs: 60_000 });
    folder = mkdtempSync(join(tmpdir(), "whipray-deferred-"));
  });
  afterAll(async () => {
    await scheduler[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true });
  }, 60_000);

  async function bundleDevices(role: string): Promise<string[][]> {
    const tables = await Promise.all(scheduler.placementGroups(role).map((group) => group.table()));
    return tables.map(({ bundles }) => bundles.flatMap(({ devices }) => devices.map(({ index }) => String(index))));
  }

  test("a worker holds nothing; its engine sees exactly its bundle's device, a forked host of it the same", async () => {
    const ids = await scheduler.createWorkers({ role: "d", replicas: 2, tasks: [DEFERRED] });
    expect((await scheduler.getWorkers("d")).map(({ devices }) => devices)).toEqual([[], []]);
    await Promise.all(ids.map((id) => scheduler.createEngine(id, "toy_engines.Toy")));
    const names = ["CUDA_VISIBLE_DEVICES", "WHIPRAY_DEVICES"];
    const seen = await Promise.all(ids.map((id) => scheduler.callEngine<string[]>(id, "exec_env", { args: names })));
    expect(seen.map(([shown]) => [shown])).toEqual(await bundleDevices("d"));
    expect(new Set(seen.map(([shown]) => shown)).size).toBe(2);
    const host = "proxy/0";
    await scheduler.forkHost("d/0", { role: "proxy", index: 0 });
    await scheduler.createEngine("d/0", "toy_engines.Toy", { host });
    expect(await scheduler.callEngine("d/0", "exec_env", { host, args: names })).toEqual(seen[0]);
    await scheduler.deleteWorkers("d");
  }, 60_000);

  test("a worker of more devices than a node has: its engine and each node of its server see their bundle's", async () => {
    const task = { ...DEFERRED, gpu: 2, cpu: 2, serverBackend: "sglang", serverModule: "toy_server_node" } as const;
    const [id] = await scheduler.createWorkers({ role: "s", replicas: 1, tasks: [task] });
    await scheduler.createEngine(id!, "toy_engines.Server");
    const told = join(folder, "told");
    const seen = await scheduler.callEngine<string[]>(id!, "launch_server", { args: [{ told }] });
    expect(seen).toEqual((await bundleDevices("s"))[0]);
    expect(new Set(seen).size).toBe(2);
    const { roles } = await scheduler.deleteWorkers("s");
    expect(roles[0]).toMatchObject({ leftovers: 0, groupsRemoved: 1 });
  }, 60_000);
});

test("the servers of a deferred worker claim their bundles whole; what would share its devices is refused", async () => {
  const cluster = new MemoryCluster(
    ["a", "b"].map((name) => ({ nodeId: `node_${name}`, ip: "10.0.0.1", cpus: 64, devices: 8 })),
  );
  const scheduler = cluster.scheduler();
  const task = { cpu: 8, gpu: 12, mem: 12, rayPlacementStrategy: "deferred" } as const;
  await cluster.run(scheduler.createWorkers({ role: "d", replicas: 1, tasks: [task] }));
  expect(cluster.servers.map(({ start, placement }) => [start.workerId, placement.devices, start.claim])).toEqual([
    ["d/0", 0, cluster.groups[0]!.bundleSpecs[0]],
    ["d/0.node1", 0, cluster.groups[0]!.bundleSpecs[1]],
  ]);
  engineClasses.set("my.Engine", () => ({}));
  await cluster.run(scheduler.createEngine("d/0", "my.Engine"));
  expect(cluster.serverOf("d/0").engine?.spec.claim).toMatchObject({ GPU: 8 });
  const fork = { type: "colocation", target: "d", fork: true } as const;
  const beside = scheduler.createWorkers({
    ...{ role: "e", replicas: 1, tasks: [{ cpu: 0, gpu: 1 }], schedulingStrategy: fork },
  });
  await expect(cluster.run(beside)).rejects.toBeInstanceOf(WorkerCreationError);
  await expect(cluster.run(beside)).rejects.toThrow("0.9 rule");
});
