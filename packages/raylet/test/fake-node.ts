import { SimulatedClock, seededIds, seededRandom, settle, silentLogger, WhiprayError } from "@whipray/core";
import {
  type ActorSpec,
  actorEnded,
  actorHost,
  actorStart,
  actorStop,
  type DeviceReport,
  engineEnded,
  type Infer,
  type NodeRegister,
  type NodeRegistered,
  type NodeView,
  nodeBeat,
  nodeDevicesSeen,
  nodeLeave,
  nodeRegister,
  nodeViewChanged,
  taskHost,
  workerExit,
  workerReady,
} from "@whipray/rpc";
import { BeatLoop } from "../src/beat-loop.ts";
import type { DeviceEyes } from "../src/device-eyes.ts";
import { MemoryGuards } from "../src/memory-guards.ts";
import { MemoryLogs } from "../src/memory-logs.ts";
import { type MemoryChild, MemoryProcesses } from "../src/memory-processes.ts";
import type { NodeDevice } from "../src/node-identity.ts";
import { MemoryPortStore, Ports } from "../src/ports.ts";
import type { SweepOutcome } from "../src/processes.ts";
import { Raylet } from "../src/raylet.ts";
import { type FakeEndpoint, FakeNetwork, type FakePeer } from "./fake-endpoint.ts";

export const NODE = "node_a";
export const WHOLE = 10_000;

/** A head that accepts everything and remembers what it was told. */
export class FakeHead {
  readonly endpoint: FakeEndpoint;
  readonly registrations: NodeRegister[] = [];
  readonly views: NodeView[] = [];
  readonly reports: DeviceReport[] = [];
  readonly ended: Infer<(typeof actorEnded)["request"]>[] = [];
  readonly left: string[] = [];
  beats = 0;
  epoch = 0;
  reply: Partial<NodeRegistered> = {};
  /** Registrations are answered when this has settled. */
  registering: Promise<void> | undefined;
  /** Refuses the next registrations. */
  refusal: WhiprayError | undefined;

  constructor(network: FakeNetwork) {
    this.endpoint = network.endpoint("head/head", "head");
    this.endpoint.serve(nodeRegister, async (request) => {
      await this.registering;
      if (this.refusal) throw this.refusal;
      this.registrations.push(request);
      this.epoch++;
      const none = { dropActors: [], dropBundles: [], peerTokens: {}, peers: [] };
      return { epoch: this.epoch, cluster: "cluster_a", beatMs: 1_000, ...none, ...this.reply };
    });
    this.endpoint.serve(nodeBeat, ({ epoch, n }) => {
      this.#check(epoch);
      this.beats++;
      return { n };
    });
    this.endpoint.serve(nodeViewChanged, ({ epoch, view }) => {
      this.#check(epoch);
      this.views.push(view);
      return {};
    });
    this.endpoint.serve(nodeDevicesSeen, ({ epoch, report }) => {
      this.#check(epoch);
      this.reports.push(report);
      return {};
    });
    this.endpoint.serve(actorEnded, (request) => {
      this.#check(request.nodeEpoch);
      this.ended.push(request);
      return {};
    });
    this.endpoint.serve(nodeLeave, ({ reason }) => {
      this.left.push(reason);
      return {};
    });
  }

  #check(epoch: number): void {
    if (epoch !== this.epoch) throw new WhiprayError({ code: "STALE_EPOCH", message: "register again" });
  }
}

/** A worker process that does what a worker does, as far as its raylet sees. */
export class FakeWorker {
  readonly child: MemoryChild;
  readonly endpoint: FakeEndpoint;
  readonly workerId: string;
  readonly hosted: Infer<(typeof actorHost)["request"]>[] = [];
  readonly tasksOf: Infer<(typeof taskHost)["request"]>[] = [];
  readonly enginesEnded: Infer<(typeof engineEnded)["request"]>[] = [];
  readonly toRaylet: FakePeer;

  constructor(network: FakeNetwork, child: MemoryChild, construct: (worker: FakeWorker) => unknown) {
    this.child = child;
    this.workerId = child.spec.env["WHIPRAY_WORKER_ID"]!;
    this.endpoint = network.endpoint(`${NODE}/${this.workerId}`, "worker");
    this.endpoint.serve(actorHost, async (request) => {
      this.hosted.push(request);
      await construct(this);
      return {};
    });
    this.endpoint.serve(taskHost, (request) => {
      this.tasksOf.push(request);
      return {};
    });
    this.endpoint.serve(workerExit, () => {
      child.exit({ code: 0, signal: null });
      return {};
    });
    this.endpoint.serve(engineEnded, (request) => {
      this.enginesEnded.push(request);
      return {};
    });
    this.toRaylet = this.endpoint.connect({ to: `${NODE}/raylet`, url: "unix:/raylet", purpose: "control" });
    void child.exited.then(() => this.endpoint.close());
  }

  ready(): Promise<unknown> {
    const { pid, spec } = this.child;
    return this.toRaylet.invoke(workerReady, { workerId: this.workerId, pid, socket: spec.env["WHIPRAY_SOCKET"]! });
  }

  say(line: string): void {
    this.child.spec.log.write("err", Buffer.from(`${line}\n`));
  }
}

export interface FakeNodeOptions {
  readonly gpus?: number;
  /** What a constructor does: default nothing. */
  readonly construct?: (worker: FakeWorker) => unknown;
  /** Whether a new worker process says that it is ready. Default true. */
  readonly ready?: (child: MemoryChild) => boolean;
  /** Looks at the devices. Default: nobody does. */
  readonly eyes?: DeviceEyes;
  /** A dead raylet that could not be ended on the first device. */
  readonly leftBy?: NodeDevice["leftBy"];
  /** What the machine has of other processes when the raylet starts. */
  readonly sweepOutcome?: SweepOutcome;
}

/** A whole raylet of memory parts under a simulated clock. */
export function fakeNode(options: FakeNodeOptions = {}) {
  const { gpus = 2, construct = () => {}, ready = () => true, eyes, leftBy } = options;
  const clock = new SimulatedClock();
  const network = new FakeNetwork();
  const head = new FakeHead(network);
  const workers: FakeWorker[] = [];
  const processes = new MemoryProcesses((child) => {
    const worker = new FakeWorker(network, child, construct);
    workers.push(worker);
    if (ready(child)) queueMicrotask(() => void worker.ready().catch(() => {}));
  });
  if (options.sweepOutcome) processes.sweepOutcome = options.sweepOutcome;
  const random = seededRandom(7);
  const endpoint = network.endpoint(`${NODE}/raylet`, "raylet");
  const guards = new MemoryGuards();
  const logs = new MemoryLogs();
  const secrets = new Map<string, string>();
  const busy = new Set<number>();
  const store = new MemoryPortStore({ first: 10_000, last: 10_019 });
  const ports = new Ports({ store, probe: async (port) => !busy.has(port), random, raylet: endpoint.incarnation });
  const devices = Array.from({ length: gpus }, (_, index): NodeDevice => {
    const uuid = `gpu-${index}`;
    const fixed = { resource: "GPU", vendor: "fake", model: "fake", health: "ok" as const };
    return { uuid, index, ...fixed, lockPath: `/locks/${uuid}`, ...(leftBy && index === 0 && { leftBy }) };
  });
  const raylet = new Raylet(
    {
      ...{ endpoint, clock, random, processes, guards, logs, ports, eyes },
      ids: seededIds(random),
      logger: silentLogger,
      beats: new BeatLoop({ endpoint, headUrl: "memory:head", nodeId: NODE, clock, random, logger: silentLogger }),
      secrets: {
        async write(name, text) {
          secrets.set(name, text);
          return `/secret/${name}`;
        },
        async remove(name) {
          secrets.delete(name);
        },
      },
      visibility: {
        variables: (granted) => ({ CUDA_VISIBLE_DEVICES: granted.map((device) => device.uuid).join(",") }),
        overridden: (env, own) => Object.keys(own).filter((name) => env[name] !== undefined && env[name] !== own[name]),
        reserved: () => ["CUDA_VISIBLE_DEVICES"],
        untouched: (env) => (env["NOSET"] === "1" ? ["GPU"] : []),
      },
    },
    {
      node: {
        ...{
          cluster: "cluster_a",
          nodeId: NODE,
          incarnation: endpoint.incarnation,
          name: "a",
          hostname: "a",
          ip: "10.0.0.1",
        },
        ...{
          url: undefined,
          pid: 1,
          version: "0.1.0",
          labels: {},
          scalars: { CPU: 8 * WHOLE, memory: 1_000 },
          devices,
        },
      },
      ...{ headUrl: "memory:head", workerEntry: "/worker.js", nodePath: "/node", workerTokenFile: "/token" },
      rayletSocket: "/raylet.sock",
      workerSocket: (workerId) => `/s/${workerId}`,
      ...{ cwd: "/work", env: { PATH: "/bin" }, cacheDirectory: "/cache", enginePythonPath: "/engine" },
    },
  );
  const settled = async (ms = 0): Promise<void> => {
    for (let round = 0; round < 5; round++) await clock.run(0);
    if (ms > 0) await clock.run(ms);
    for (let round = 0; round < 5; round++) await clock.run(0);
    await settle();
  };
  const toRaylet = head.endpoint.connect({ to: `${NODE}/raylet`, url: "memory:a", purpose: "control" });
  return { clock, network, head, workers, processes, guards, logs, secrets, busy, raylet, settled, toRaylet, endpoint };
}

/** A plain actor. */
export function actorSpec(actorId: string, more: Partial<ActorSpec> = {}): ActorSpec {
  return {
    ...{ actorId, jobId: "job_a", namespace: "default", detached: false, className: "Counter", module: "file:///c.ts" },
    ...{ exportName: "Counter", args: [], units: {}, placementUnits: { CPU: WHOLE }, bundleIndex: -1 },
    ...{ captureChildTasks: false, maxRestarts: 0, maxTaskRetries: 0, maxConcurrency: 1, maxPendingCalls: -1 },
    ...{ env: {}, isolation: "env", graceMs: 5_000 },
    ...more,
  };
}

/** A raylet that has registered, with what the head does to it. */
export async function startedNode(options?: FakeNodeOptions) {
  const node = fakeNode(options);
  const registered = node.raylet.start();
  await node.settled();
  await registered;
  const start = (actorId: string, more: Parameters<typeof actorSpec>[1] = {}, epoch = 1) => {
    const spec = actorSpec(actorId, more);
    const leaseId = `lease_${actorId.slice(6)}x${epoch}`;
    return node.toRaylet.invoke(actorStart, { spec, epoch, nodeEpoch: node.head.epoch, leaseId, devices: [] });
  };
  const stop = (actorId: string, graceMs = 0, epoch = 1) => {
    return node.toRaylet.invoke(actorStop, { actorId, epoch, graceMs, cause: { kind: "RAY_KILL", message: "killed" } });
  };
  return { ...node, start, stop };
}

/** One whole device. */
export const GPU1 = { units: { GPU: WHOLE }, placementUnits: { GPU: WHOLE } };
