/** Main file of a worker of a test: says that it is ready, hosts anything, and obeys its actor's module name. */
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { randomIds, silentLogger, systemClock, systemRandom } from "@whipray/core";
import {
  actorHost,
  dialTransport,
  engineEnded,
  engineStart,
  WireEndpoint,
  workerExit,
  workerReady,
} from "@whipray/rpc";

const env = process.env as Record<string, string>;
const workerId = env["WHIPRAY_WORKER_ID"]!;
const nodeId = env["WHIPRAY_NODE_ID"]!;
const address = `${nodeId}/${workerId}`;
const services = { clock: systemClock, ids: randomIds(), random: systemRandom, logger: silentLogger };
const token = readFileSync(env["WHIPRAY_TOKEN_FILE"]!, "utf8");
const endpoint = new WireEndpoint({ ...services, address, role: "worker", token, transport: dialTransport() });
const url = `unix:${env["WHIPRAY_RAYLET_SOCKET"]}`;
const raylet = endpoint.connect({ to: `${nodeId}/raylet`, url, purpose: "control" });
raylet.onClose(() => process.exit(0));

endpoint.serve(workerExit, () => {
  setImmediate(() => process.exit(0));
  return {};
});
endpoint.serve(engineEnded, ({ cause }) => {
  console.log(`engine ended: ${cause.exitCode ?? cause.signal}`);
  return {};
});
endpoint.serve(actorHost, async ({ spec, epoch, env: given }) => {
  console.log(`hosting ${spec.className} with ${given["CUDA_VISIBLE_DEVICES"] ?? "-"}`);
  if (spec.className === "Raises") throw new TypeError("bad weights");
  if (spec.className === "Crashes") {
    console.error("cannot go on");
    process.exit(11);
  }
  if (spec.className === "Escapes") {
    // Two sessions away, its parents gone, and no word of ours in its environment.
    const script = "(setsid sh -c 'echo $$ > escaped; exec sleep 303' &) &";
    const child = spawn("/bin/sh", ["-c", script], { detached: true, env: { PATH: env["PATH"]! }, stdio: "ignore" });
    await new Promise((resolve) => child.once("exit", resolve));
  }
  if (spec.className === "Engine") {
    const script =
      "import subprocess, sys, time; subprocess.Popen(['setsid', 'sleep', '300']); print('engine up', flush=True); time.sleep(300)";
    const request = {
      argv: ["-c", script],
      env: spec.env,
      isolation: spec.isolation,
      pty: false,
      socket: "/none",
      token: "t",
    };
    const more = {
      engineId: `engine_${workerId.slice(7)}`,
      actorId: spec.actorId,
      epoch,
      logName: "engine",
      graceMs: 1_000,
    };
    const { pid } = await raylet.invoke(engineStart, { ...request, ...more });
    console.log(`engine pid ${pid}`);
  }
  return {};
});
await raylet.invoke(workerReady, { workerId, pid: process.pid, socket: env["WHIPRAY_SOCKET"]! });
