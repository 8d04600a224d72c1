import { ActorAlreadyExistsError } from "@whipray/core";
import { expect, test } from "vitest";
import { ClusterScheduler, GPUAllocationError, WorkerCreationError, WorkerNotFoundError } from "../src/index.ts";
import { MemoryCluster } from "./memory-cluster.ts";

const GPU1 = { cpu: 1, gpu: 1, mem: 1 };

test("areal 6.1: two workers of one device: ids in order, two live servers; after the delete everything is free", async () => {
  const cluster = new MemoryCluster();
  const scheduler = cluster.scheduler();
  const job = { role: "train", replicas: 2, tasks: [GPU1, GPU1] };
  expect(await cluster.run(scheduler.createWorkers(job))).toEqual(["train/0", "train/1"]);
  expect(cluster.alive()).toHaveLength(2);
  expect(cluster.groups.map((group) => group.bundleSpecs)).toEqual([
    [
      { CPU: 1, GPU: 1, memory: 2 ** 30 },
      { CPU: 1, GPU: 1, memory: 2 ** 30 },
    ],
  ]);
  expect(cluster.servers.map((server) => server.placement.devices)).toEqual([0.9, 0.9]);
  expect(await cluster.run(scheduler.getWorkers("train"))).toHaveLength(2);
  await cluster.run(scheduler.deleteWorkers());
  expect(cluster.alive()).toHaveLength(0);
  expect(cluster.free()).toEqual({ cpus: 64, devices: 8 });
  await expect(scheduler.getWorkers("train")).rejects.toThrow(WorkerNotFoundError);
});

test("areal 6.2: one spec serves all replicas; a number that fits neither 1 nor replicas is refused with both numbers", async () => {
  const cluster = new MemoryCluster();
  const scheduler = cluster.scheduler();
  expect(await cluster.run(scheduler.createWorkers({ role: "a", replicas: 3, tasks: [GPU1] }))).toHaveLength(3);
  await expect(scheduler.createWorkers({ role: "b", replicas: 3, tasks: [GPU1, GPU1] })).rejects.toThrow(
    /2 tasks, 3 replicas/,
  );
  await expect(scheduler.createWorkers({ role: "b", replicas: 3, tasks: [] })).rejects.toThrow(WorkerCreationError);
  await expect(scheduler.createWorkers({ role: "b", replicas: 0, tasks: [GPU1] })).rejects.toThrow(
    "replicas must be greater than 0",
  );
  await expect(scheduler.createWorkers({ role: "b:c", replicas: 1, tasks: [GPU1] })).rejects.toThrow(
    WorkerCreationError,
  );
  expect(cluster.servers).toHaveLength(3);
});

test("areal 6.2: a field that nobody knows is refused, and AReaL's name of one is translated", async () => {
  const scheduler = new MemoryCluster().scheduler();
  const create = (more: object, spec: object = GPU1) =>
    scheduler.createWorkers({ role: "a", replicas: 1, tasks: [spec], ...more });
  await expect(create({}, { ...GPU1, env_vars: {} })).rejects.toThrow("spec has no field 'env_vars'; write envVars");
  await expect(create({}, { ...GPU1, gpus: 1 })).rejects.toThrow(/spec has no field 'gpus'; there are cpu, gpu, mem/);
  await expect(create({ scheduling_strategy: {} })).rejects.toThrow("write schedulingStrategy");
  await expect(create({ schedulingStrategy: { type: "colocation", role: "b" } })).rejects.toThrow(
    "schedulingStrategy has no field 'role'; there are type, target, fork",
  );
  await expect(create({}, null as never)).rejects.toThrow("each of tasks is a map");
  await expect(scheduler.createWorkers(undefined as never)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
});

test("areal 6.3: a role that exists, or is being created, is refused", async () => {
  const cluster = new MemoryCluster();
  const scheduler = cluster.scheduler();
  const first = scheduler.createWorkers({ role: "a", replicas: 1, tasks: [GPU1] });
  await expect(scheduler.createWorkers({ role: "a", replicas: 1, tasks: [GPU1] })).rejects.toThrow("already exists");
  await cluster.run(first);
  await expect(scheduler.createWorkers({ role: "a", replicas: 1, tasks: [GPU1] })).rejects.toThrow("already exists");
});

test("areal 6.4: a command with --port is refused", async () => {
  const scheduler = new MemoryCluster().scheduler();
  for (const cmd of ["serve --port 1", "serve --port=1", "--port"]) {
    const job = { role: "a", replicas: 1, tasks: [{ ...GPU1, cmd }] };
    await expect(scheduler.createWorkers(job)).rejects.toThrow("should not include --port");
  }
});

test("areal 6.6: when the second worker cannot be made the first is gone, and the group too", async () => {
  const cluster = new MemoryCluster();
  const scheduler = cluster.scheduler();
  cluster.failServerAt = 1;
  const creating = scheduler.createWorkers({ role: "a", replicas: 2, tasks: [GPU1] });
  await expect(cluster.run(creating)).rejects.toThrow(WorkerCreationError);
  expect(cluster.alive()).toHaveLength(0);
  expect(cluster.free()).toEqual({ cpus: 64, devices: 8 });
  cluster.failServerAt = undefined;
  expect(await cluster.run(scheduler.createWorkers({ role: "a", replicas: 2, tasks: [GPU1] }))).toHaveLength(2);
});

test("a name that another scheduler has taken says what to do", async () => {
  const cluster = new MemoryCluster();
  cluster.server = async () => {
    throw new ActorAlreadyExistsError({ message: "The name a.0 is taken" });
  };
  const creating = cluster.scheduler().createWorkers({ role: "a", replicas: 1, tasks: [GPU1] });
  await expect(cluster.run(creating)).rejects.toThrow("give each an experimentName");
});

test("a group that cannot be placed in time is removed, and the error says what is missing", async () => {
  const cluster = new MemoryCluster();
  const creating = cluster.scheduler().createWorkers({ role: "a", replicas: 9, tasks: [GPU1] });
  await expect(cluster.run(creating)).rejects.toThrow("1 GPU short");
  expect(cluster.free()).toEqual({ cpus: 64, devices: 8 });
});

test("areal 6.14: more devices than a node has are a GPUAllocationError", async () => {
  const scheduler = new MemoryCluster().scheduler();
  const job = { role: "a", replicas: 1, tasks: [{ ...GPU1, gpu: 16 }] };
  await expect(scheduler.createWorkers(job)).rejects.toThrow(GPUAllocationError);
  await expect(scheduler.createWorkers(job)).rejects.toThrow(/asks for 16 devices, a node has 8/);
});

test("areal 6.23: the kind of device is the cluster's; without any, workers without devices are fine and others a clear refusal", async () => {
  const npus = new MemoryCluster([{ nodeId: "node_a", ip: "10.0.0.1", cpus: 8, devices: 8, resource: "NPU" }]);
  await npus.run(npus.scheduler().createWorkers({ role: "a", replicas: 1, tasks: [GPU1] }));
  expect(npus.groups[0]?.bundleSpecs[0]).toMatchObject({ NPU: 1 });
  expect(npus.servers[0]?.placement.device).toBe("NPU");
  const cpus = new MemoryCluster([{ nodeId: "node_a", ip: "10.0.0.1", cpus: 8, devices: 0 }]);
  const scheduler = cpus.scheduler();
  await expect(scheduler.createWorkers({ role: "a", replicas: 1, tasks: [GPU1] })).rejects.toThrow(
    /no node of the cluster has a GPU or NPU/,
  );
  expect(await cpus.run(scheduler.createWorkers({ role: "a", replicas: 2, tasks: [{ cpu: 1, mem: 1 }] }))).toHaveLength(
    2,
  );
});

test("areal 6.23: before the first role nobody asks the cluster; afterwards nGpusPerNode is what its nodes have", async () => {
  const cluster = new MemoryCluster([{ nodeId: "node_a", ip: "10.0.0.1", cpus: 8, devices: 4 }]);
  let opened = 0;
  const scheduler = new ClusterScheduler(
    async () => {
      opened++;
      return cluster;
    },
    { clock: cluster.clock },
  );
  expect(scheduler.nGpusPerNode).toBe(8);
  expect(await scheduler.deleteWorkers()).toEqual({ roles: [] });
  expect(opened).toBe(0);
  await cluster.run(scheduler.createWorkers({ role: "a", replicas: 1, tasks: [GPU1] }));
  expect(scheduler.nGpusPerNode).toBe(4);
  expect(cluster.scheduler({ nGpusPerNode: 2 }).nGpusPerNode).toBe(2);
});

test("ranks go by (node, device), wherever the group's bundles were put", async () => {
  const cluster = new MemoryCluster([
    { nodeId: "node_b", ip: "10.0.0.10", cpus: 8, devices: 2 },
    { nodeId: "node_a", ip: "10.0.0.9", cpus: 8, devices: 2 },
  ]);
  const scheduler = cluster.scheduler();
  await cluster.run(scheduler.createWorkers({ role: "a", replicas: 4, tasks: [GPU1] }));
  const workers = await cluster.run(scheduler.getWorkers("a"));
  expect(workers.map((worker) => [worker.ip, worker.devices[0]?.index])).toEqual([
    ["10.0.0.9", 0],
    ["10.0.0.9", 1],
    ["10.0.0.10", 0],
    ["10.0.0.10", 1],
  ]);
  const [group] = scheduler.placementGroups("a");
  // Rank 0 sits in bundle 2: its node is the master's, not that of bundle 0.
  expect((await cluster.run(scheduler.getPlacementGroupMasterIpAndPort(group!))).ip).toBe("10.0.0.9");
  expect((await cluster.run(scheduler.getPlacementGroupMasterIpAndPort(group!, 0))).ip).toBe("10.0.0.10");
});

test("separate: a group a worker, whole devices; deferred: a group a worker, nothing held", async () => {
  const cluster = new MemoryCluster();
  const scheduler = cluster.scheduler();
  await cluster.run(
    scheduler.createWorkers({ role: "s", replicas: 2, tasks: [{ ...GPU1, gpu: 2, rayPlacementStrategy: "separate" }] }),
  );
  await cluster.run(
    scheduler.createWorkers({ role: "d", replicas: 1, tasks: [{ ...GPU1, gpu: 2, rayPlacementStrategy: "deferred" }] }),
  );
  expect(cluster.groups.map((group) => group.bundleSpecs.length)).toEqual([1, 1, 1]);
  expect(cluster.groups.map((group) => group.name)).toEqual(["s.0", "s.1", "d"]);
  expect(cluster.servers.map(({ placement }) => [placement.cpu, placement.devices])).toEqual([
    [1, 2],
    [1, 2],
    [0, 0],
  ]);
});

test("strategy and labels of a spec are those of its groups and bundles; they must be the same kind of thing for all", async () => {
  const cluster = new MemoryCluster();
  const scheduler = cluster.scheduler();
  const zone = (name: string) => ({ ...GPU1, strategy: "SPREAD" as const, labels: { zone: name } });
  await cluster.run(scheduler.createWorkers({ role: "a", replicas: 2, tasks: [zone("x"), zone("y")] }));
  expect(cluster.groups[0]).toMatchObject({ strategy: "SPREAD", labels: [{ zone: "x" }, { zone: "y" }] });
  const node = { ...zone("z"), rayPlacementStrategy: "node" } as const;
  await cluster.run(scheduler.createWorkers({ role: "b", replicas: 3, tasks: [node] }));
  expect(cluster.groups[1]?.labels).toEqual([{ zone: "z" }]);
  const mixed = { role: "c", replicas: 2, tasks: [zone("x"), { ...zone("x"), strategy: "PACK" as const }] };
  await expect(scheduler.createWorkers(mixed)).rejects.toThrow("same rayPlacementStrategy and strategy");
  await expect(
    scheduler.createWorkers({ role: "c", replicas: 1, tasks: [{ labels: { zone: 1 } as never }] }),
  ).rejects.toThrow('labels "zone" must be text');
});

test("a master port in a group of somebody else is held by a worker of its own, which ends with the scheduler", async () => {
  const cluster = new MemoryCluster();
  const scheduler = cluster.scheduler();
  const group = await cluster.placementGroup([{ CPU: 1 }], { strategy: "PACK" });
  const first = await cluster.run(scheduler.getPlacementGroupMasterIpAndPort(group));
  const second = await cluster.run(scheduler.getPlacementGroupMasterIpAndPort(group, 0));
  expect(first.ip).toBe("10.0.0.1");
  expect(second.port).not.toBe(first.port);
  expect(cluster.alive()).toHaveLength(1);
  await expect(scheduler.getPlacementGroupMasterIpAndPort(group, 1)).rejects.toThrow("bundleIndex must be from 0 to 0");
  await cluster.run(scheduler.deleteWorkers());
  expect(cluster.alive()).toHaveLength(0);
});
