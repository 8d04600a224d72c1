import { fileURLToPath } from "node:url";
import { RayScheduler, type RTensor } from "@whipray/scheduler";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import type { Cluster } from "whipray";
import { describeLeaks } from "../src/leak-check.ts";
import { type RealCluster, startCluster } from "../src/real-cluster.io.ts";
import { enginesOf, outsidePid, runs, until } from "./outside.ts";
import { DEATH_MS } from "./stage.ts";

// One role over two machines of two devices each, one of them foreign: what a single machine cannot show.
const TEST_MS = 90_000;
const ENGINE = "server_engines.RemoteSGLangEngine";
const PYTHONPATH = fileURLToPath(new URL("./fixtures/servers/", import.meta.url));
const SPEC = { cpu: 2, mem: 2, gpu: 4, envVars: { PYTHONPATH }, rayPlacementStrategy: "node" } as const;

interface NodeFacts {
  readonly node_rank: number;
  readonly nnodes: number;
  readonly pid: number;
  readonly devices: string;
  readonly home: string;
}

let real: RealCluster;
let cluster: Cluster;
let scheduler: RayScheduler;

beforeAll(async () => {
  real = await startCluster({
    raylets: [{ resources: { CPU: 2, GPU: 2 } }, { resources: { CPU: 2, GPU: 2 }, foreign: true }],
  });
  cluster = await real.connect({ namespace: "test" });
}, TEST_MS);

beforeEach(() => {
  scheduler = new RayScheduler({ cluster, nGpusPerNode: 2, destroyTimeoutMs: 2_000, startupTimeoutMs: 30_000 });
});

afterEach(async (context) => {
  if (context.task.result?.state === "fail") console.error(real.logs());
  await scheduler[Symbol.asyncDispose]();
  await until("no engine is left", DEATH_MS, () => enginesOf(real.clusterId).length === 0);
  await until("all devices are free again", DEATH_MS, async () => (await cluster.availableResources())["GPU"] === 4);
}, TEST_MS);

afterAll(async () => {
  expect(describeLeaks((await real?.stop()) ?? [])).toBe("");
}, TEST_MS);

/** A server's process, as this process sees it. */
function outside(pid: number, rank: number, nodes: readonly string[]): number {
  return outsidePid(pid, real.raylets.find((raylet) => raylet.nodeId === nodes[rank])!.pid);
}

/** Nodes of the head and of its launcher. */
async function nodesOfServer(): Promise<string[]> {
  const rows = (await cluster.listActors()).filter((actor) => actor.state === "ALIVE");
  return ["r.0", "r.0.node1"].map((name) => rows.find((row) => row.name === name)!.nodeId!);
}

test(
  "areal 6.19: launch_server on an instance of two machines runs one process on each, with that machine's devices",
  async () => {
    await scheduler.createWorkers({ role: "r", replicas: 1, tasks: [SPEC] });
    await scheduler.createEngine("r/0", ENGINE);
    expect(enginesOf(real.clusterId)).toHaveLength(1);
    const nodes = await nodesOfServer();
    expect(new Set(nodes).size).toBe(2);

    const options = { args: [{ model_path: "/m", tp_size: 4 }] };
    const facts = (await scheduler.callEngine("r/0", "launch_server", options)) as NodeFacts[];
    expect(facts).toMatchObject([
      { node_rank: 0, nnodes: 2, model_path: "/m", tp_size: 4 },
      { node_rank: 1, nnodes: 2, model_path: "/m", tp_size: 4 },
    ]);
    for (const { devices } of facts) expect(devices.split(",")).toHaveLength(2);
    expect(facts[0]!.home).not.toBe(facts[1]!.home);
    const pids = facts.map(({ pid }, rank) => outside(pid, rank, nodes));
    expect(pids.every(runs)).toBe(true);
    expect(await scheduler.callEngine("r/0", "generate")).toBe(true);

    process.kill(pids[1]!, "SIGKILL");
    await until("the lost node is known", DEATH_MS, async () => {
      const error = await scheduler.callEngine("r/0", "generate").catch((thrown: unknown) => thrown);
      return (error as { exitCode?: number }).exitCode === -9;
    });
    await scheduler.callEngine("r/0", "teardown_server");
    const again = (await scheduler.callEngine("r/0", "launch_server", options)) as NodeFacts[];
    const second = again.map(({ pid }, rank) => outside(pid, rank, nodes));
    const { roles } = await scheduler.deleteWorkers("r");
    expect(roles[0]).toMatchObject({ killed: [], leftovers: 0, errors: [] });
    expect(second.some(runs)).toBe(false);
  },
  TEST_MS,
);

test(
  "a machine whose server cannot start fails the launch at once with its exit code, and the head is let go",
  async () => {
    await scheduler.createWorkers({ role: "r", replicas: 1, tasks: [SPEC] });
    await scheduler.createEngine("r/0", ENGINE);
    const broken = scheduler.callEngine("r/0", "launch_server", {
      args: [{ model_path: "/models/broken", tp_size: 4 }],
    });
    await expect(broken).rejects.toMatchObject({ name: "WorkerFailedError", workerId: "r/0", exitCode: 5 });
    await scheduler.callEngine("r/0", "teardown_server");
    const facts = await scheduler.callEngine("r/0", "launch_server", { args: [{ model_path: "/m", tp_size: 4 }] });
    expect(facts).toHaveLength(2);
  },
  TEST_MS,
);

test(
  "areal 6.25: tensors go from an engine on one machine straight to one on the other; those of a lost worker are an error that names them",
  async () => {
    const task = { cpu: 1, mem: 0.1, gpu: 2, envVars: { PYTHONPATH } };
    await scheduler.createWorkers({ role: "a", replicas: 2, tasks: [task] });
    const workers = await scheduler.getWorkers("a");
    expect(new Set(workers.map((worker) => worker.nodeId)).size).toBe(2);
    await Promise.all(workers.map(({ id }) => scheduler.createEngine(id, ENGINE)));
    const make = { args: [40, 50_000], remote: true };
    const tensors = (await scheduler.callEngine("a/0", "make", make)) as RTensor[];
    const sums = tensors.map((_, row) => row * 40 * 50_000);
    expect(await scheduler.callEngine("a/1", "total", { args: tensors })).toEqual(sums);
    expect(await scheduler.callEngine("a/0", "total", { args: tensors })).toEqual(sums);

    const server = (await cluster.listActors()).find((actor) => actor.name === "a.0" && actor.state === "ALIVE")!;
    const raylet = real.raylets.find(({ nodeId }) => nodeId === server.nodeId)!;
    process.kill(outsidePid(server.pid!, raylet.pid), "SIGKILL");
    await expect(scheduler.callEngine("a/1", "total", { args: [tensors[3]] })).rejects.toMatchObject({
      name: "EngineCallError",
      workerId: "a/1",
      message: expect.stringContaining(`Tensor ${tensors[3]!.id} of worker 'a/0' cannot be had`),
    });
    await expect(scheduler.localize(tensors)).rejects.toMatchObject({
      name: "RTensorError",
      cause: { name: "WorkerFailedError", exitCode: -9 },
    });
    expect(await scheduler.clearTensors(tensors)).toEqual({ cleared: 0, bytes: 0 });
    expect(await scheduler.callEngine("a/1", "total", { args: [] })).toEqual([]);
  },
  TEST_MS,
);
