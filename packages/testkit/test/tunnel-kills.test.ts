import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { DRIVER_GRACE_MS } from "@whipray/head";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { describeLeaks } from "../src/leak-check.ts";
import { foreignWrapper } from "../src/namespaces.io.ts";
import type { RealCluster } from "../src/real-cluster.io.ts";
import { engineKilled, guardKilled, headKilled, rayletKilled, SILENT_NODE_MS, workerKilled } from "./kills.ts";
import { anyRuns, enginesOf, outsidePid, until } from "./outside.ts";
import { DEATH_MS, startTunnelStage } from "./stage.ts";
import { type TunnelStage, throughTunnel } from "./tunnel.ts";

// Each kind of process is killed, and the driver sees it through one tunnel to the head's port. One cluster for all.
const TEST_MS = 90_000;
let real: RealCluster;
let stage: TunnelStage;
let free: Record<string, number>;

beforeAll(async () => {
  real = await startTunnelStage();
}, TEST_MS);

beforeEach(async () => {
  stage = await throughTunnel(real);
  free = await stage.cluster.availableResources();
}, TEST_MS);

afterEach(async (context) => {
  if (context.task.result?.state === "fail") console.error(real.logs());
  await stage.scheduler[Symbol.asyncDispose]();
  await until("no engine is left", DEATH_MS, () => enginesOf(real.clusterId).length === 0);
  await until("all is free again", DEATH_MS, allIsFree);
  await stage[Symbol.asyncDispose]();
}, TEST_MS);

afterAll(async () => {
  expect(describeLeaks((await real?.stop()) ?? [])).toBe("");
}, TEST_MS);

async function allIsFree(): Promise<boolean> {
  const now = await stage.cluster.availableResources();
  return ["CPU", "near", "far"].every((name) => now[name] === free[name]);
}

for (const when of ["idle", "busy"] as const) {
  test(
    `SIGKILL of an engine (${when}): signal, last words and log reach the driver; its worker lives`,
    () => engineKilled(stage, when),
    TEST_MS,
  );
  test(
    `SIGKILL of a worker (${when}): its engine and what that planted are gone, the driver hears of the signal`,
    () => workerKilled(stage, when),
    TEST_MS,
  );
}

test(
  "SIGKILL of a guard: the engine and what it planted are gone in 2 s, the call fails, the worker lives",
  () => guardKilled(stage, "busy"),
  TEST_MS,
);

test(
  "SIGKILL of a raylet that nobody can dial: all of it is gone in 10 s, the driver hears of the node, the other node works on",
  () => rayletKilled(stage, "far", "busy", SILENT_NODE_MS),
  TEST_MS,
);

test(
  "SIGKILL of the head, the only road: nobody else ends; what ran, waited or came meanwhile returns after its restart and ran once; all is found again",
  async () => {
    const { cluster } = stage;
    const ref = await cluster.put(new Uint8Array(8 * 2 ** 20).fill(3));
    await headKilled(stage);
    expect((await cluster.get(ref)).at(-1)).toBe(3);
  },
  TEST_MS,
);

test(
  "SIGKILL of a driver elsewhere: its session has its grace, then its workers and engines on both nodes are gone in 10 s, and what they held is free",
  async () => {
    const script = fileURLToPath(new URL("./fixtures/scheduler-driver.ts", import.meta.url));
    const { wrapper } = foreignWrapper({ hostName: "laptop", hidden: [real.directory] });
    const [file, ...args] = [...wrapper, process.execPath, script, stage.tunnel.address, "idle"];
    const lost = spawn(file!, args, {
      env: { ...process.env, HOME: real.directory, WHIPRAY_TOKEN: real.token },
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [line] = (await once(lost.stdout, "data")) as [Buffer];
    const inner = JSON.parse(String(line)) as { engine: number; planted: number; worker: number }[];
    const pids = inner.flatMap(({ engine, planted, worker }, index) =>
      [engine, planted, worker].map((pid) => outsidePid(pid, real.raylets[index]!.pid)),
    );
    lost.kill("SIGKILL");
    await until(
      "workers, engines and planted grandchildren are gone",
      DRIVER_GRACE_MS + DEATH_MS,
      () => !anyRuns(pids),
    );
    await until("what they held is free", DEATH_MS, allIsFree);
  },
  TEST_MS,
);
