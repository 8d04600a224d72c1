import { afterAll, beforeAll, expect, test } from "vitest";
import { type Cluster, init, type TaskOptions } from "../src/index.ts";
import { caught } from "./busy.ts";
import type { square } from "./sample-tasks.ts";

// Bad input of tasks (reliability B16 to B26): refused by name, and nothing is left of it.
const SAMPLE = new URL("./sample-tasks.ts", import.meta.url);
const CPUS = 2;
let cluster: Cluster;
beforeAll(async () => {
  cluster = await init({ numCpus: CPUS });
});
afterAll(() => cluster.close());

const task = () => cluster.task<typeof square>(SAMPLE, "square");
const codeOf = async (promise: Promise<unknown>): Promise<unknown> =>
  ((await caught(promise)) as { code?: string }).code;

test("B16: only exported functions are tasks", async () => {
  for (const name of ["constructor", "__proto__", "toString", "hasOwnProperty", "nobody", ""])
    expect(await codeOf(cluster.task<typeof square>(SAMPLE, name)(2)), name).toMatch(/^(NOT_A_FUNCTION|INVALID_NAME)$/);
});

test("B17, B18: what cannot travel says where it is", async () => {
  const cycle: Record<string, unknown> = {};
  cycle["self"] = cycle;
  const run = task() as unknown as (...args: unknown[]) => Promise<unknown>;
  for (const [bad, at] of [
    [{ x: { y: () => 1 } }, "args[0].x.y"],
    [[Symbol("s")], "args[0][0]"],
    [cycle, "args[0]"],
  ] as const)
    await expect(run(bad)).rejects.toMatchObject({ code: "NOT_SERIALISABLE", message: expect.stringContaining(at) });
});

test("B19, B20, B24: amounts and names that are none are refused when they are said", () => {
  const wrong: [TaskOptions, string][] = [
    [{ numCpus: -1 }, "INVALID_RESOURCES"],
    [{ numCpus: Number.NaN }, "INVALID_RESOURCES"],
    [{ numGpus: 1.5 }, "INVALID_RESOURCES"],
    [{ numCpus: 0.00001 }, "INVALID_RESOURCES"],
    [{ memory: -5 }, "INVALID_RESOURCES"],
    [{ resources: { CPU: 1 } }, "INVALID_ARGUMENT"],
    [{ resources: { bundle: 1 } }, "INVALID_RESOURCES"],
    [{ name: "../x" }, "INVALID_NAME"],
    [{ name: "" }, "INVALID_NAME"],
    [{ name: "x".repeat(10_000) }, "INVALID_NAME"],
    [{ isolation: "process" as never }, "INVALID_ARGUMENT"],
    [{ numReturns: 0 }, "INVALID_ARGUMENT"],
    [{ maxRetries: 1.5 }, "INVALID_ARGUMENT"],
  ];
  for (const [options, code] of wrong)
    expect(() => task().options(options), JSON.stringify(options)).toThrow(expect.objectContaining({ code }));
});

test("B19, B21: what no node can ever hold waits, and its deadline says what is missing", async () => {
  const never = task().options({ numGpus: 1_000_000_000, timeoutMs: 1_000 });
  await expect(never(2)).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED", message: /infeasible: .*GPU/ });
});

test("B22: a bundle that is none, a group that is not there or was removed", async () => {
  const group = await cluster.placementGroup([{ CPU: 1 }]);
  await group.ready();
  const inside = (groupId: string, bundleIndex: number) =>
    codeOf(task().options({ placement: { groupId, bundleIndex, isolation: "env" } })(2));
  expect(await inside(group.id, 7)).toBe("UNSCHEDULABLE");
  expect(await inside(group.id, -2)).toBe("UNSCHEDULABLE");
  expect(await inside("pg_nowhere", 0)).toBe("NOT_FOUND");
  await group.remove();
  expect(await inside(group.id, 0)).toBe("PLACEMENT_GROUP_REMOVED");
});

test("B26: an environment that a Node process must not have fails the task at once, naming the variable", async () => {
  for (const env of [{ LD_PRELOAD: "/x.so" }, { WHIPRAY_TOKEN: "x" }, { "A=B": "x" }, { CUDA_VISIBLE_DEVICES: "7" }]) {
    const failed = task().options({ env })(2);
    await expect(failed, JSON.stringify(env)).rejects.toMatchObject({
      code: "INVALID_ENV",
      message: expect.stringContaining(Object.keys(env)[0]!),
    });
  }
  expect(await task()(3)).toBe(9);
  expect((await cluster.availableResources())["CPU"]).toBeGreaterThan(0);
});
