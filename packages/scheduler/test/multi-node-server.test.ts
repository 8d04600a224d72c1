import { beforeEach, describe, expect, test } from "vitest";
import { type ClusterScheduler, PortAllocationError, type SchedulingSpec, WorkerFailedError } from "../src/index.ts";
import { backendOf, serverCommand, serverNodeArgs } from "../src/server-nodes.ts";
import { MemoryCluster } from "./memory-cluster.ts";
import { engineClasses } from "./memory-engine.ts";

const SPEC = { cpu: 16, gpu: 16, mem: 16, rayPlacementStrategy: "node", envVars: { A: "1" } } as const;
const ENGINE = "areal.engine.RemoteSGLangEngine";

/** What a launcher was told, by the order of their creation; `end` ends its process. */
interface FakeLauncher {
  readonly told: unknown[][];
  end(code: number): void;
}

let cluster: MemoryCluster;
let scheduler: ClusterScheduler;
let launchers: FakeLauncher[];
let heads: { args: unknown; health: PromiseWithResolvers<string> }[];

beforeEach(() => {
  launchers = [];
  heads = [];
  engineClasses.set("whipray_engine.launcher.Launcher", () => {
    let process = Promise.withResolvers<number>();
    const told: unknown[][] = [];
    launchers.push({ told, end: (code) => process.resolve(code) });
    return {
      start: (...args: unknown[]) => {
        process = Promise.withResolvers();
        told.push(["start", ...args]);
      },
      wait: () => process.promise,
      stop: (...args: unknown[]) => {
        told.push(["stop", ...args]);
        process.resolve(-15);
      },
      destroy: () => void told.push(["destroy"]),
    };
  });
  const head = () => ({
    launch_server: (args: unknown) => {
      const health = Promise.withResolvers<string>();
      heads.push({ args, health });
      return health.promise;
    },
    generate: () => "text",
    teardown_server: () => "down",
  });
  engineClasses.set(ENGINE, head);
  engineClasses.set("my.Engine", head);
  const nodes = ["a", "b", "c", "d"].map((name, index) => ({
    nodeId: `node_${name}`,
    ip: `10.0.0.${index + 1}`,
    cpus: 64,
    devices: 8,
  }));
  cluster = new MemoryCluster(nodes);
  scheduler = cluster.scheduler();
});

async function started(replicas = 1, spec: SchedulingSpec = SPEC, engine = ENGINE): Promise<void> {
  await cluster.run(scheduler.createWorkers({ role: "r", replicas, tasks: [spec] }));
  for (let rank = 0; rank < replicas; rank++) await cluster.run(scheduler.createEngine(`r/${rank}`, engine));
}

/** `launch_server` as far as the head's own launch. */
async function launching(...args: unknown[]): Promise<{ done: Promise<unknown> }> {
  const known = heads.length;
  const done = scheduler.callEngine("r/0", "launch_server", { args });
  done.catch(() => {});
  for (let step = 0; heads.length === known && step < 100; step++) await cluster.clock.run(0);
  return { done };
}

describe("an instance over several nodes", () => {
  test("areal 6.19: two launchers, each with its whole node; engines only on the head", async () => {
    await started(2);
    expect(cluster.groups[0]?.bundleSpecs).toHaveLength(4);
    expect(cluster.servers.map(({ start, placement }) => [start.workerId, placement.bundleIndex])).toEqual([
      ["r/0", 0],
      ["r/0.node1", 1],
      ["r/1", 2],
      ["r/1.node1", 3],
    ]);
    for (const { placement } of cluster.servers)
      expect(placement).toMatchObject({ cpu: 8, devices: 8, memoryBytes: 8 * 2 ** 30, captureChildTasks: true });
    expect(cluster.servers.map((server) => server.engines.length)).toEqual([1, 0, 1, 0]);
    expect((await cluster.run(scheduler.getWorkers("r"))).map((worker) => worker.id)).toEqual(["r/0", "r/1"]);
  });

  test("launch_server starts the further nodes with their rank and the head with rank 0, at one address", async () => {
    await started();
    await cluster.run(scheduler.setWorkerEnv("r/0", { NCCL_DEBUG: "INFO" }));
    const { done } = await launching({ model_path: "/m", tp_size: 16 });
    heads[0]!.health.resolve("10.0.0.1:30000");
    expect(await cluster.run(done)).toBe("10.0.0.1:30000");
    const { dist_init_addr: address, ...rest } = heads[0]!.args as Record<string, unknown>;
    expect(rest).toEqual({ model_path: "/m", tp_size: 16, nnodes: 2, node_rank: 0 });
    expect(address).toMatch(/^10\.0\.0\.1:\d+$/);
    const command = ["python3", "-m", "sglang.launch_server", "--model-path", "/m", "--tp-size", "16"];
    const node = ["--nnodes", "2", "--node-rank", "1", "--dist-init-addr", address];
    expect(launchers[0]?.told).toEqual([["start", "server", [...command, ...node]]]);
    expect(cluster.serverOf("r/0.node1").engine?.spec.env).toEqual({ A: "1", NCCL_DEBUG: "INFO" });
    expect(await cluster.run(scheduler.callEngine("r/0", "generate"))).toBe("text");
  });

  test("arguments by name stay by name", async () => {
    await started();
    const seen = cluster.run(
      scheduler.callEngine("r/0", "launch_server", { kwargs: { server_args: { tp_size: 16 } } }),
    );
    for (let step = 0; heads.length === 0 && step < 100; step++) await cluster.clock.run(0);
    heads[0]!.health.resolve("up");
    await seen;
    expect(heads[0]!.args).toMatchObject({ server_args: { tp_size: 16, nnodes: 2, node_rank: 0 } });
  });

  test("a node that ends while the head still waits for health fails the launch at once, and the others are stopped", async () => {
    await started(1, { ...SPEC, cpu: 24, gpu: 24, mem: 24 });
    const { done } = await launching({});
    const startedAtMs = cluster.clock.now();
    launchers[1]!.end(1);
    const error = await done.catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(WorkerFailedError);
    expect(error).toMatchObject({
      workerId: "r/0",
      exitCode: 1,
      message: expect.stringContaining("node 2 of its server"),
    });
    expect(launchers.map(({ told }) => told.at(-1))).toEqual([
      ["stop", "server"],
      ["stop", "server"],
    ]);
    expect(cluster.clock.now() - startedAtMs).toBe(0);
  });

  test("a head that fails stops the further nodes; the launch may be tried again", async () => {
    await started();
    const { done } = await launching({});
    heads[0]!.health.reject(new Error("port in use"));
    await expect(cluster.run(done)).rejects.toThrow("port in use");
    expect(launchers[0]?.told.at(-1)).toEqual(["stop", "server"]);
    const again = await launching({});
    heads[1]!.health.resolve("up");
    expect(await cluster.run(again.done)).toBe("up");
    expect(launchers).toHaveLength(1);
  });

  test("F37: a head that finds the port taken gets another, and so do all nodes; three taken ports end it", async () => {
    await started();
    const portOf = (at: number): number => {
      return Number((heads[at]!.args as { dist_init_addr: string }).dist_init_addr.split(":")[1]);
    };
    const taken = (at: number) => new Error(`bind failed. port: ${portOf(at)}, name: EADDRINUSE`);
    const reached = async (heard: number): Promise<void> => {
      for (let step = 0; heads.length < heard && step < 100; step++) await cluster.clock.run(0);
    };
    const { done } = await launching({});
    heads[0]!.health.reject(taken(0));
    await reached(2);
    heads[1]!.health.resolve("up");
    expect(await cluster.run(done)).toBe("up");
    expect(portOf(1)).not.toBe(portOf(0));
    const starts = launchers[0]!.told.filter(([what]) => what === "start");
    expect(starts.map((start) => (start[2] as string[]).at(-1))).toEqual([0, 1].map((at) => `10.0.0.1:${portOf(at)}`));

    const again = await launching({});
    for (const at of [2, 3, 4]) {
      await reached(at + 1);
      heads[at]!.health.reject(taken(at));
    }
    await expect(cluster.run(again.done)).rejects.toBeInstanceOf(PortAllocationError);
    expect(heads).toHaveLength(5);
    expect(launchers[0]?.told.at(-1)).toEqual(["stop", "server"]);
  });

  test("a node that ends later fails the calls that follow, until the server is launched again", async () => {
    await started();
    const { done } = await launching({});
    heads[0]!.health.resolve("up");
    await cluster.run(done);
    launchers[0]!.end(-9);
    await cluster.clock.run(0);
    await expect(scheduler.callEngine("r/0", "generate")).rejects.toMatchObject({ exitCode: -9, workerId: "r/0" });
    expect(await cluster.run(scheduler.callEngine("r/0", "teardown_server"))).toBe("down");
    expect(await cluster.run(scheduler.callEngine("r/0", "generate"))).toBe("text");
  });

  test("teardown_server stops the further nodes, which is no failure of them", async () => {
    await started();
    const { done } = await launching({});
    heads[0]!.health.resolve("up");
    await cluster.run(done);
    await cluster.run(scheduler.callEngine("r/0", "teardown_server"));
    expect(launchers[0]?.told.at(-1)).toEqual(["stop", "server"]);
    expect(await cluster.run(scheduler.callEngine("r/0", "generate"))).toBe("text");
  });

  test("the delete ends launchers with their role, rank 0's own server last", async () => {
    await started();
    const { done } = await launching({});
    heads[0]!.health.resolve("up");
    await cluster.run(done);
    const ended: string[] = [];
    for (const server of cluster.servers) {
      const { kill } = server;
      server.kill = async () => {
        ended.push(server.start.workerId);
        await kill.call(server);
      };
    }
    const { roles } = await cluster.run(scheduler.deleteWorkers("r", { reverseOrder: true }));
    expect(roles[0]).toMatchObject({ killed: [], errors: [], groupsRemoved: 1 });
    expect(launchers[0]?.told.at(-1)).toEqual(["destroy"]);
    expect(ended).toEqual(["r/0.node1", "r/0"]);
    expect(cluster.free()).toEqual({ cpus: 256, devices: 32 });
  });

  test("an engine that names no back end needs one in the spec", async () => {
    await started(1, SPEC, "my.Engine");
    await expect(cluster.run(scheduler.callEngine("r/0", "launch_server"))).rejects.toThrow(
      "serverBackend in the spec",
    );
    await cluster.run(scheduler.deleteWorkers());
    await started(1, { ...SPEC, serverBackend: "vllm", serverModule: "my.vllm_server" }, "my.Engine");
    const { done } = await launching({ tensor_parallel_size: 16 });
    heads[0]!.health.resolve("up");
    await cluster.run(done);
    expect(heads[0]!.args).toMatchObject({ nnodes: 2, node_rank: 0, master_addr: "10.0.0.1" });
    expect(heads[0]!.args).not.toHaveProperty("headless");
    expect((launchers[0]!.told[0] as [string, string, string[]])[2]).toEqual(
      expect.arrayContaining(["my.vllm_server", "--tensor-parallel-size", "--headless", "--master-port"]),
    );
    await expect(
      scheduler.createWorkers({ role: "x", replicas: 1, tasks: [{ serverBackend: "tgi" as never }] }),
    ).rejects.toThrow("serverBackend must be one of sglang, vllm");
  });
});

describe("commands of a server's nodes", () => {
  const node = { rank: 1, nodes: 2, ip: "10.0.0.1", port: 20_000 };

  test("names become flags; true is a flag alone, false, null and nothing are left out, a list has several words", () => {
    const args = { model_path: "/m", tp: 8, trust: true, quiet: false, none: null, empty: "", stop: ["a", 1] };
    expect(serverCommand("sglang", args).slice(3)).toEqual([
      "--model-path",
      "/m",
      "--tp",
      "8",
      "--trust",
      "--stop",
      "a",
      "1",
    ]);
    expect(() => serverCommand("sglang", { deep: { a: 1 } })).toThrow("server argument deep must be");
  });

  test("each back end has its own words for rank and meeting point", () => {
    expect(serverNodeArgs("sglang", { tp: 16 }, node)).toEqual({
      tp: 16,
      nnodes: 2,
      node_rank: 1,
      dist_init_addr: "10.0.0.1:20000",
    });
    expect(serverNodeArgs("sglang", {}, { ...node, ip: "fd00::1" })["dist_init_addr"]).toBe("[fd00::1]:20000");
    expect(serverNodeArgs("vllm", {}, node)).toEqual({
      nnodes: 2,
      node_rank: 1,
      master_addr: "10.0.0.1",
      master_port: 20_000,
      headless: true,
    });
    expect(serverNodeArgs("vllm", {}, { ...node, rank: 0 })).not.toHaveProperty("headless");
  });

  test("the back end is what the engine's path names", () => {
    expect(backendOf("areal.engine.sglang_remote.RemoteSGLangEngine")).toBe("sglang");
    expect(backendOf("areal.engine.vllm_remote.RemotevLLMEngine")).toBe("vllm");
    expect(backendOf("my.Engine")).toBeUndefined();
  });
});
