import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Cluster } from "whipray";
import { describeLeaks } from "../src/leak-check.ts";
import { type RealCluster, startCluster } from "../src/real-cluster.io.ts";
import type { nodeOf, runForEver } from "./fixtures/long-task.ts";
import { anyRuns, until } from "./outside.ts";
import { DEATH_MS, PATIENCE_MS } from "./stage.ts";

const LONG = new URL("./fixtures/long-task.ts", import.meta.url);
const DRIVER = fileURLToPath(new URL("./fixtures/task-driver.ts", import.meta.url));
const TEST_MS = 90_000;
let real: RealCluster;
let cluster: Cluster;
let folder: string;
let file: string;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "wt-"));
  file = join(folder, "pids");
  // The second and the third can hold what the first never could.
  real = await startCluster({ raylets: [1, 4, 4].map((CPU) => ({ resources: { CPU } })) });
  cluster = await real.connect({ namespace: "tasks" });
}, TEST_MS);

afterEach(async (context) => {
  if (context.task.result?.state === "fail") console.error(real.logs());
  const left = await real.stop();
  rmSync(folder, { recursive: true, force: true });
  expect(describeLeaks(left)).toBe("");
}, TEST_MS);

/** Pids of the tasks that have begun. */
function begun(file: string): number[] {
  return existsSync(file) ? readFileSync(file, "utf8").trim().split("\n").map(Number) : [];
}

test(
  "a task goes to the node that can hold it; SIGKILL of a driver: its tasks are gone in 10 s, and their CPUs are free",
  async () => {
    const ableNodes = real.raylets.slice(1).map(({ nodeId }) => nodeId);
    expect(ableNodes).toContain(await cluster.task<typeof nodeOf>(LONG, "nodeOf").options({ numCpus: 3 })());
    const env = { ...process.env, WHIPRAY_TOKEN: real.token };
    const lost = spawn(process.execPath, [DRIVER, real.address, file], { env, stdio: "inherit" });
    await until("its two tasks run", PATIENCE_MS, () => begun(file).length === 2);
    const pids = begun(file);
    expect(anyRuns(pids)).toBe(true);
    lost.kill("SIGKILL");
    await until("the tasks are gone", DEATH_MS, () => !anyRuns(pids));
    await until("their CPUs are free", DEATH_MS, async () => (await cluster.availableResources())["CPU"] === 9);
  },
  TEST_MS,
);

test(
  "SIGKILL of a raylet: its tasks are gone and their caller hears of the node; the one that may be retried runs on another node",
  async () => {
    const again = join(folder, "again");
    const nodeId = await cluster.task<typeof nodeOf>(LONG, "nodeOf").options({ numCpus: 2 })();
    const nodeAffinity = { nodeId, soft: true };
    const task = cluster.task<typeof runForEver>(LONG, "runForEver").options({ numCpus: 2, nodeAffinity });
    const raylet = real.raylets.find((one) => one.nodeId === nodeId)!;
    const lost = task
      .options({ maxRetries: 0 })(file)
      .catch((error: unknown) => error);
    task
      .options({ maxRetries: 1 })(again)
      .catch(() => {}); // its cluster ends under it
    await until("both run", PATIENCE_MS, () => begun(file).length + begun(again).length === 2);
    const pids = [...begun(file), ...begun(again)];
    await raylet.kill("SIGKILL");
    await until("the tasks are gone", DEATH_MS, () => !anyRuns(pids));
    expect(await lost).toMatchObject({
      name: "WorkerCrashedError",
      message: expect.stringContaining(`Node ${nodeId} is dead`),
    });
    await until("it runs again", DEATH_MS, () => begun(again).length === 2);
    expect(anyRuns(begun(again).slice(1))).toBe(true);
    await raylet.restart(); // clears up what its predecessor could not
  },
  TEST_MS,
);
