import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { RayScheduler, WorkerFailedError } from "@whipray/scheduler";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import type { Cluster } from "whipray";
import { describeLeaks } from "../src/leak-check.ts";
import type { RealCluster } from "../src/real-cluster.io.ts";
import { engineKilled, guardKilled, workerKilled } from "./kills.ts";
import { anyRuns, enginesOf, outsidePid, processesOf, until } from "./outside.ts";
import { DEATH_MS, PATIENCE_MS, type Place, Rank, rayletAt, type Stage, startStage } from "./stage.ts";
import { stalledReceiver } from "./stalled-receiver.ts";

// driver → head → raylet on another machine → worker → guard → Python engine and back; then engine, guard, worker and driver are
// killed. One cluster for all: no daemon dies here.
const TEST_MS = 60_000;
const MIB = 2 ** 20;
let real: RealCluster;
let cluster: Cluster;
let stage: Stage;
let free: Record<string, number>;

beforeAll(async () => {
  real = await startStage();
  cluster = await real.connect({ namespace: "test" });
  free = await cluster.availableResources();
}, TEST_MS);

beforeEach(() => {
  stage = { real, cluster, scheduler: new RayScheduler({ cluster, destroyTimeoutMs: 2_000 }) };
});

afterEach(async (context) => {
  if (context.task.result?.state === "fail") console.error(real.logs());
  await stage.scheduler[Symbol.asyncDispose]();
  await until("no engine is left", DEATH_MS, () => enginesOf(real.clusterId).length === 0);
  await until("all is free again", DEATH_MS, async () => {
    const now = await cluster.availableResources();
    return ["CPU", "near", "far"].every((name) => now[name] === free[name]);
  });
}, TEST_MS);

afterAll(async () => {
  expect(describeLeaks((await real?.stop()) ?? [])).toBe("");
}, TEST_MS);

test(
  "1 KiB and 64 MiB, as bytes and as tensors, echo through an engine on a foreign node; a generator streams",
  async () => {
    const rank = await Rank.start(stage, "plain", "far");
    for (const bytes of [1_024, 64 * MIB]) {
      const sent = new Uint8Array(bytes).fill(7);
      sent[bytes - 1] = 9;
      const back = (await rank.call("echo", [sent])) as Uint8Array;
      expect(Buffer.compare(back, sent)).toBe(0);
      const floats = new Float64Array(bytes / 8).fill(0.5);
      floats[floats.length - 1] = -1;
      const floatsBack = (await rank.call("echo", [floats])) as Float64Array;
      expect(floatsBack).toBeInstanceOf(Float64Array);
      expect(Buffer.compare(bytesOf(floatsBack), bytesOf(floats))).toBe(0);
    }
    // What the leak check goes by is on all of them.
    expect(processesOf(real.clusterId)).toEqual(expect.arrayContaining([rank.worker, rank.guard, rank.engine]));
    expect(enginesOf(real.clusterId)).toEqual([rank.engine]);
    const items: unknown[] = [];
    for await (const item of rank.stream("count_to", [100])) items.push(item);
    expect(items).toEqual(Array.from({ length: 100 }, (_, index) => index));
  },
  TEST_MS,
);

for (const when of ["idle", "busy"] as const) {
  test(
    `F21: SIGKILL of a Python engine (${when}): the call fails with signal, last words and log; its worker lives`,
    () => engineKilled(stage, when),
    TEST_MS,
  );

  test(
    `F3: SIGKILL of the guard (${when}): the engine and what it planted are gone in 2 s, the call fails, the worker lives`,
    () => guardKilled(stage, when),
    TEST_MS,
  );

  test(
    `SIGKILL of a worker (${when}): its engine and what that planted are gone, the caller hears of the signal`,
    () => workerKilled(stage, when),
    TEST_MS,
  );
}

for (const when of ["idle", "busy", "creating"] as const) {
  test(
    `F44: SIGKILL of a driver (${when}): its workers and engines on both nodes are gone in 10 s, and what they held is free`,
    async () => {
      const script = fileURLToPath(new URL("./fixtures/scheduler-driver.ts", import.meta.url));
      const markOf = (place: Place): string => join(rayletAt(real, place).cwd, `lost-${place}`);
      for (const place of ["near", "far"] as const) rmSync(markOf(place), { force: true }); // of a test before
      const lost = spawn(process.execPath, [script, real.address, when], {
        env: { ...process.env, WHIPRAY_TOKEN: real.token },
        stdio: ["ignore", "pipe", "inherit"],
      });
      const [line] = (await once(lost.stdout, "data")) as [Buffer];
      const inner = JSON.parse(String(line)) as { engine: number; planted: number; worker: number }[];
      const pids = inner.flatMap(({ engine, planted, worker }, index) =>
        [engine, planted, worker].map((pid) => outsidePid(pid, real.raylets[index]!.pid)),
      );
      if (when !== "idle") {
        for (const place of ["near", "far"] as const) {
          const mark = markOf(place);
          await until("its calls, or its constructors, run", PATIENCE_MS, () => existsSync(mark));
        }
      }
      lost.kill("SIGKILL");
      await until("workers, engines and planted grandchildren are gone", DEATH_MS, () => !anyRuns(pids));
      await until("what they held is free", DEATH_MS, async () => {
        const now = await cluster.availableResources();
        return now["near"] === free["near"] && now["far"] === free["far"];
      });
    },
    TEST_MS,
  );
}

test(
  "F4: SIGSTOP of a guard: its raylet misses its echo, and ends the engine and what it planted from outside",
  async () => {
    const rank = await Rank.start(stage, "guard", "far");
    const planted = await rank.plant();
    const { outcome } = await rank.running(600);
    process.kill(rank.guard, "SIGSTOP");
    await until(
      "engine, guard and grandchild are gone",
      2 * DEATH_MS,
      () => !anyRuns([rank.engine, rank.guard, planted]),
    );
    expect(await outcome).toBeInstanceOf(WorkerFailedError);
  },
  TEST_MS,
);

test(
  "F22, F24: an engine that ignores SIGTERM, and what it planted, are gone 5 s after their role is deleted",
  async () => {
    const rank = await Rank.start(stage, "stubborn", "far", "Stubborn");
    const planted = await rank.plant();
    await stage.scheduler.deleteWorkers("stubborn");
    await until("engine, guard and grandchild are gone", DEATH_MS, () => !anyRuns([rank.engine, rank.guard, planted]));
  },
  TEST_MS,
);

for (const victim of ["engine", "guard", "worker"] as const) {
  test(
    `SIGKILL of the ${victim} while the engine's constructor runs, and while a stream runs: both end with what died, nothing is left`,
    async () => {
      const built = await Rank.creating(stage, "built", "far");
      process.kill(built.rank[victim], "SIGKILL");
      expect(await built.outcome).toBeInstanceOf(WorkerFailedError);
      const streaming = await Rank.start(stage, "streaming", "far");
      const { outcome } = await streaming.streaming();
      process.kill(streaming[victim], "SIGKILL");
      expect(await outcome).toBeInstanceOf(WorkerFailedError);
      await until(
        "engines and guards are gone",
        DEATH_MS,
        () => !anyRuns([built.rank, streaming].flatMap(({ engine, guard }) => [engine, guard])),
      );
    },
    TEST_MS,
  );
}

test(
  "F26: a rank that is killed in a collective over two nodes: the other's error reaches the controller, nothing hangs",
  async () => {
    const ranks = await Promise.all([Rank.start(stage, "r0", "near", "Ring"), Rank.start(stage, "r1", "far", "Ring")]);
    const { scheduler } = stage;
    const { ip, port } = await scheduler.getPlacementGroupMasterIpAndPort(scheduler.placementGroups("r0")[0]!);
    await Promise.all(ranks.map((rank, index) => rank.call("join", [index, ip, port])));
    expect(await Promise.all(ranks.map((rank, index) => rank.call("all_reduce", [index + 1])))).toEqual([3, 3]);
    const outcomes = [ranks[0]!.call("all_reduce", [1]), ranks[1]!.call("all_reduce", [1, "late-rank"])].map((call) =>
      call.catch((error: unknown) => error),
    );
    await ranks[1]!.marked("late-rank");
    process.kill(ranks[1]!.engine, "SIGKILL");
    const [other, killed] = await Promise.all(outcomes);
    expect(killed).toMatchObject({ name: "WorkerFailedError", workerId: "r1/0", exitCode: -9 });
    expect(other).toMatchObject({ name: "EngineCallError", workerId: "r0/0" });
    expect(String(other)).toMatch(/the other rank is gone|reset by peer/);
    expect(await ranks[0]!.call("echo", ["alive"])).toBe("alive");
  },
  TEST_MS,
);

test(
  "a worker that is stopped while 64 MiB go to it does not hold up a call to another one on its node",
  () => stalledReceiver(stage),
  TEST_MS,
);

function bytesOf({ buffer, byteOffset, byteLength }: Float64Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}
