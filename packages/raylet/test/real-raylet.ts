import { fileURLToPath } from "node:url";
import { randomIds, silentLogger, systemClock, systemRandom } from "@whipray/core";
import { type MemoryMachine, memoryProbe } from "@whipray/devices";
import {
  actorEnded,
  actorStart,
  actorStop,
  type DeviceGrant,
  dialTransport,
  type Infer,
  listenUnix,
  type NodeRegister,
  nodeBeat,
  nodeDevicesSeen,
  nodeLeave,
  nodeRegister,
  nodeViewChanged,
  WireEndpoint,
} from "@whipray/rpc";
import { BeatLoop } from "../src/beat-loop.ts";
import { processesWith } from "../src/process-table.io.ts";
import { Raylet } from "../src/raylet.ts";
import { nodeDirectory, openNode } from "../src/real-node.io.ts";
import { NODE_MARK } from "../src/runtime-directory.ts";
import { actorSpec, WHOLE } from "./fake-node.ts";

const ENV = { PATH: process.env["PATH"]!, HOME: process.env["HOME"]! };
const ENGINE_FOLDER = fileURLToPath(new URL("../../engine/python", import.meta.url));

export interface RealRayletOptions {
  readonly cluster?: string;
  readonly nodeId?: string;
  /** Default: 2 declared GPUs. */
  readonly fakeDevices?: string | undefined;
  /** Part of the identities of fake devices. */
  readonly name?: string;
  /** A folder in front of PATH, with vendors' tools. */
  readonly tools?: string;
  /** Folder of the locks of real devices. Default: one in `root`. */
  readonly locks?: string;
  /** The machine that it looks at. Default: this one. */
  readonly machine?: MemoryMachine;
  /** More of the raylet's environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Called when it registers, before the answer. */
  readonly onRegister?: () => void;
  /** Default 300 ms. */
  readonly lookEveryMs?: number;
  /** Folder that stands for `/` where device files are looked for; no GPUs are declared then. */
  readonly deviceRoot?: string;
}
const services = { clock: systemClock, ids: randomIds(), random: systemRandom, logger: silentLogger };

/** A raylet of real parts on this machine, and a head that accepts everything. `root` is a folder of the test. */
export async function realRaylet(root: string, options: RealRayletOptions = {}) {
  const { cluster: CLUSTER = "cluster_test", nodeId = services.ids.next("node"), fakeDevices, name = "here" } = options;
  const path = options.tools === undefined ? ENV.PATH : `${options.tools}:${ENV.PATH}`;
  const env = { ...ENV, ...options.env, PATH: path, WHIPRAY_DEVICE_LOCKS: options.locks ?? `${root}/locks` };
  const headUrl = `unix:${root}/head/${CLUSTER}.sock`;
  const admit = (): void => {};
  const transport = dialTransport();
  const head = new WireEndpoint({ ...services, address: "head/head", role: "head", token: "h", transport, admit });
  const registrations: NodeRegister[] = [];
  const ended: Infer<(typeof actorEnded)["request"]>[] = [];
  head.serve(nodeRegister, (request) => {
    options.onRegister?.();
    registrations.push(request);
    const none = { dropActors: [], dropBundles: [], peerTokens: {}, peers: [] };
    return { epoch: 1, cluster: CLUSTER, beatMs: 1_000, ...none };
  });
  head.serve(nodeBeat, ({ n }) => ({ n }));
  head.serve(nodeViewChanged, () => ({}));
  head.serve(nodeDevicesSeen, () => ({}));
  head.serve(nodeLeave, () => ({}));
  head.serve(actorEnded, (request) => {
    ended.push(request);
    return {};
  });
  const headListener = await listenUnix(`${root}/head/${CLUSTER}.sock`, (channel) => head.accept(channel));
  const endpoint = new WireEndpoint({
    ...services,
    address: `${nodeId}/raylet`,
    role: "raylet",
    token: "r",
    transport,
    admit,
  });
  const directory = nodeDirectory({ cluster: CLUSTER, nodeId, runtimeRoot: root, env });
  const guardFile = `${ENGINE_FOLDER}/whipray_guard.py`;
  const node = await openNode({
    ...{
      cluster: CLUSTER,
      nodeId,
      incarnation: endpoint.incarnation,
      version: "0",
      clock: systemClock,
      random: systemRandom,
    },
    ...{ runtimeRoot: root, env, guardFile, ip: "127.0.0.1", name },
    ...(options.deviceRoot !== undefined && { deviceRoot: options.deviceRoot }),
    ...(options.deviceRoot !== undefined
      ? { resources: { CPU: 4 } }
      : options.machine
        ? { probe: memoryProbe(options.machine), resources: { CPU: 64 } }
        : fakeDevices === undefined
          ? { resources: { CPU: 4, GPU: 2 } }
          : { fakeDevices, resources: { CPU: 4 } }),
  });
  const tokenFile = await node.secrets.write("worker-token", "w");
  const beats = new BeatLoop({ endpoint, headUrl, nodeId, ...services });
  const { processes, guards, logs, ports, secrets, visibility, eyes, late, cacheDirectory } = node;
  const raylet = new Raylet(
    { endpoint, ...services, processes, guards, logs, ports, beats, secrets, visibility, eyes, late },
    {
      ...{
        node: node.node,
        headUrl,
        nodePath: process.execPath,
        cwd: root,
        env,
        cacheDirectory,
        workerTokenFile: tokenFile,
      },
      workerEntry: fileURLToPath(new URL("./tiny-worker.ts", import.meta.url)),
      ...{ rayletSocket: directory.socket, workerSocket: directory.workerSocket },
      ...{ enginePythonPath: ENGINE_FOLDER, lookEveryMs: options.lookEveryMs ?? 300 },
      // A grant's look must come back on a busy machine too.
      grantLookMs: 30_000,
    },
  );
  const listener = await listenUnix(directory.socket, (channel) => endpoint.accept(channel));
  let stopped = false;
  const stop = async (): Promise<void> => {
    if (stopped) return;
    stopped = true;
    await raylet.stop("test");
    await Promise.all([listener.close(), headListener.close(), endpoint.close(), head.close()]);
    await node.close(false);
  };
  await raylet.start();
  const toRaylet = head.connect({ to: `${nodeId}/raylet`, url: `unix:${directory.socket}`, purpose: "control" });
  const start = (className: string, more = {}, devices: DeviceGrant[] = []) => {
    const spec = actorSpec(services.ids.next("actor"), {
      className,
      units: { GPU: WHOLE },
      placementUnits: { GPU: WHOLE },
      ...more,
    });
    const leaseId = services.ids.next("lease");
    return toRaylet
      .invoke(actorStart, { spec, epoch: 1, nodeEpoch: 1, leaseId, devices })
      .then((answer) => ({ answer, spec }));
  };
  const kill = (actorId: string) => {
    const cause = { kind: "RAY_KILL", message: "killed" } as const;
    return toRaylet.invoke(actorStop, { actorId, epoch: 1, graceMs: 0, cause });
  };
  const left = async () => (await processesWith(NODE_MARK, nodeId)).found.length;
  return { raylet, node, nodeId, directory, registrations, ended, start, kill, stop, left };
}
