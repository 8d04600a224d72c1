import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { EngineImportError, RayScheduler } from "@whipray/scheduler";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import type { Cluster } from "whipray";
import { describeLeaks } from "../src/leak-check.ts";
import type { RealCluster } from "../src/real-cluster.io.ts";
import { needNamespaces, type Place, rayletAt, startStage, task } from "./stage.ts";

// Mechanism 14 on two machines: files of one path differ. The far machine has its own files where the near one has its working directory.
const TEST_MS = 60_000;
let real: RealCluster;
let cluster: Cluster;
let scheduler: RayScheduler;

beforeAll(async () => {
  real = await startStage();
  cluster = await real.connect({ namespace: "code" });
}, TEST_MS);

beforeEach((context) => {
  needNamespaces(context, real);
  scheduler = new RayScheduler({ cluster, destroyTimeoutMs: 2_000 });
});

afterEach(async () => {
  await scheduler?.[Symbol.asyncDispose]();
}, TEST_MS);

afterAll(async () => {
  expect(describeLeaks((await real?.stop()) ?? [])).toBe("");
}, TEST_MS);

/** Path of a file in the near node's working directory, as every machine would call it. */
function path(name: string): string {
  return join(rayletAt(real, "near").cwd, name);
}

/** Writes it as that machine sees it; the driver is on the near one. */
function write(place: Place, name: string, content: string): void {
  const root = place === "near" ? "" : `/proc/${rayletAt(real, "far").pid}/root`;
  mkdirSync(dirname(`${root}${path(name)}`), { recursive: true });
  writeFileSync(`${root}${path(name)}`, content);
}

interface Counter {
  add(n: number): number;
}

const MODULE = `import { step } from "./parts/step.mjs";
export class Counter { add(n) { return n + step; } }
export function add(n) { return n + step; }`;

const run = async (place: Place, module: string): Promise<number> => {
  const url = pathToFileURL(path(module));
  const options = { resources: { [place]: 0.5 }, numCpus: 0 };
  const actor = await cluster.actor<Counter>(url, "Counter").options(options).create();
  return actor.add(1).finally(() => cluster.kill(actor));
};

test(
  "an actor and a task run where all files of their code are the same; where a file that they import differs, it is named with its node",
  async () => {
    for (const place of ["near", "far"] as const) write(place, "same/counter.mjs", MODULE);
    for (const place of ["near", "far"] as const) write(place, "same/parts/step.mjs", "export const step = 1;");
    expect(await Promise.all([run("near", "same/counter.mjs"), run("far", "same/counter.mjs")])).toEqual([2, 2]);
    for (const place of ["near", "far"] as const) write(place, "other/counter.mjs", MODULE);
    write("near", "other/parts/step.mjs", "export const step = 1;");
    write("far", "other/parts/step.mjs", "export const step = 2;");
    expect(await run("near", "other/counter.mjs")).toBe(2);
    const { nodeId } = rayletAt(real, "far");
    const details = { node: nodeId, path: path("other/parts/step.mjs") };
    await expect(run("far", "other/counter.mjs")).rejects.toMatchObject({
      code: "ACTOR_DIED",
      cause: { code: "CODE_MISMATCH", details, message: expect.stringContaining("differs on") },
    });
    const far = { resources: { far: 0.5 }, numCpus: 0 };
    const add = cluster.task<(n: number) => number>(pathToFileURL(path("other/counter.mjs")), "add").options(far);
    await expect(add(1)).rejects.toMatchObject({ code: "CODE_MISMATCH", details });
  },
  TEST_MS,
);

test(
  "an engine's module that differs from the controller's is named with its node, and not imported; what the controller has not is not compared",
  async () => {
    const same = "class Engine:\n    def name(self):\n        return __name__\n";
    for (const place of ["near", "far"] as const) write(place, "py/same_engine.py", same);
    write("near", "py/other_engine.py", same);
    write("far", "py/other_engine.py", `${same}raise RuntimeError("imported")\n`);
    write("near", "py/near_engine.py", same);
    write("far", "py/far_engine.py", same);
    const spec = { ...task("far"), envVars: { PYTHONPATH: path("py") } };
    const [id] = (await scheduler.createWorkers({ role: "far", replicas: 1, tasks: [spec] })) as [string];
    const create = (module: string) => scheduler.createEngine(id, `${module}.Engine`, { engineName: module });
    await create("same_engine");
    await create("far_engine");
    const name = (engineName: string) => scheduler.callEngine(id, "name", { engineName });
    expect(await Promise.all([name("same_engine"), name("far_engine")])).toEqual(["same_engine", "far_engine"]);
    const { nodeId } = rayletAt(real, "far");
    for (const [module, words] of [
      ["other_engine", "differs from the controller's"],
      ["near_engine", "does not exist on"],
    ] as const) {
      const failed = await create(module).catch((error: unknown) => error);
      expect(failed).toBeInstanceOf(EngineImportError);
      const details = { node: nodeId, path: path(`py/${module}.py`) };
      expect(failed).toMatchObject({ code: "CODE_MISMATCH", details, message: expect.stringContaining(words) });
    }
  },
  TEST_MS,
);
