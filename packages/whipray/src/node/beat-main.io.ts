import { parentPort, workerData } from "node:worker_threads";
import { randomIds, silentLogger, systemClock, systemRandom } from "@whipray/core";
import { runBeatThread } from "@whipray/raylet";
import { dialTransport, WireEndpoint } from "@whipray/rpc";
import type { ThreadStart } from "./thread-entry.io.ts";

/** What the beat thread of a raylet is given. */
export interface BeatThreadData {
  nodeId: string;
  clusterId: string;
  headUrl: string;
  token: string;
}

if (parentPort) {
  const { nodeId, clusterId, headUrl, token } = (workerData as ThreadStart).data as BeatThreadData;
  const services = { clock: systemClock, ids: randomIds(), random: systemRandom, logger: silentLogger };
  const endpoint = new WireEndpoint({
    ...services,
    address: `${nodeId}/beats`,
    role: "raylet",
    token,
    cluster: clusterId,
    pid: process.pid,
    transport: dialTransport(),
  });
  runBeatThread(parentPort, { endpoint, headUrl, nodeId, clock: systemClock, random: systemRandom });
}
