/** Main file of the beat thread of a test. */
import { parentPort, workerData } from "node:worker_threads";
import { randomIds, silentLogger, systemClock, systemRandom } from "@whipray/core";
import { dialTransport, WireEndpoint } from "@whipray/rpc";
import { runBeatThread } from "../src/beat-thread.ts";

const { headUrl } = workerData as { headUrl: string };
const services = { clock: systemClock, ids: randomIds(), random: systemRandom, logger: silentLogger };
const endpoint = new WireEndpoint({
  ...services,
  address: "node_a/beats",
  role: "raylet",
  token: "r",
  transport: dialTransport(),
});
runBeatThread(parentPort!, { endpoint, headUrl, nodeId: "node_a", clock: systemClock, random: systemRandom });
