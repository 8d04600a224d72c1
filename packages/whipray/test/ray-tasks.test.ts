import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  type Cluster,
  init,
  type PlacementGroup,
  type SchedulingOptions,
  TaskPlacementGroupRemoved,
  WorkerCrashedError,
} from "../src/index.ts";
import { processesOf, until } from "./outside.ts";
import type { Sample } from "./sample-actor.ts";
import type * as tasks from "./sample-tasks.ts";

const SAMPLE = new URL("./sample-tasks.ts", import.meta.url);
let cluster: Cluster;
let folder: string;

beforeAll(async () => {
  cluster = await init({ numCpus: 2, labels: { zone: "one" } });
  folder = mkdtempSync(join(tmpdir(), "whipray-ray-"));
});
afterAll(async () => {
  rmSync(folder, { recursive: true, force: true });
  await cluster.close();
  expect(processesOf(cluster.id)).toEqual([]);
});

async function groupOf(cpus: number): Promise<PlacementGroup> {
  const group = await cluster.placementGroup([{ CPU: cpus }]);
  await group.ready();
  return group;
}

describe("tasks in placement groups", () => {
  test("Ray 8.8: a task that was made before its group has a place runs once it has", async () => {
    const first = await groupOf(2);
    const second = await cluster.placementGroup([{ CPU: 2 }]);
    const square = cluster.task<typeof tasks.square>(SAMPLE, "square").options({ placement: second.bundle(0) });
    const waiting = square.remote(3);
    expect(await cluster.wait([waiting], { timeoutMs: 500 })).toEqual([[], [waiting]]);
    await cluster.removePlacementGroup(first);
    expect(await cluster.get(waiting)).toBe(9);
    await cluster.removePlacementGroup(second);
  });

  test("Ray 8.13: what a task in a bundle has is told without the bundle's name", async () => {
    const group = await groupOf(1);
    const context = cluster.task<typeof tasks.context>(SAMPLE, "context").options({ placement: group.bundle(0) });
    expect(await context()).toMatchObject({ placementGroupId: group.id, assignedResources: { CPU: 1 } });
    await cluster.removePlacementGroup(group);
  });

  test("Ray 8.19: removal kills the task that runs, and fails the one that waits; everything is free", async () => {
    const group = await groupOf(1);
    const mark = join(folder, "removed");
    const deaf = cluster.task<typeof tasks.deaf>(SAMPLE, "deaf").options({ placement: group.bundle(0), maxRetries: 0 });
    const running = deaf.remote(mark);
    await until("it runs", () => existsSync(mark));
    const square = cluster.task<typeof tasks.square>(SAMPLE, "square").options({ placement: group.bundle(0) });
    const waiting = square.remote(2);
    expect(await cluster.wait([waiting], { timeoutMs: 300 })).toEqual([[], [waiting]]);
    await cluster.removePlacementGroup(group);
    await expect(cluster.get(running)).rejects.toBeInstanceOf(WorkerCrashedError);
    await expect(cluster.get(waiting)).rejects.toBeInstanceOf(TaskPlacementGroupRemoved);
    await until("all CPUs are free again", async () => (await cluster.availableResources())["CPU"] === 2);
  });
});

describe("the state of tasks", () => {
  test("Ray 8.81: a task whose worker is killed three times: three failed attempts, one that finished", async () => {
    const die = cluster.task<typeof tasks.dieUntil>(SAMPLE, "dieUntil").options({ name: "victim", maxRetries: 3 });
    expect(await die(join(folder, "killed"), 3)).toBe("run 4");
    expect(await cluster.listTasks({ filters: { name: "victim" } })).toMatchObject([{ state: "FINISHED", attempt: 3 }]);
  });
});

describe("the state of objects", () => {
  test("lists what lies in the store, with filters", async () => {
    const ref = await cluster.put(new Float64Array(50_000));
    const sealed = await cluster.listObjects({ filters: { state: "sealed" } });
    expect(sealed).toMatchObject([{ objects: [{ state: "sealed", copy: false }] }]);
    expect(await cluster.listObjects({ filters: { state: "spilled" } })).toMatchObject([{ objects: [] }]);
    ref.dispose();
  });
});

describe("where a task may run", () => {
  test("an actor falls back to the next selector where no node that meets the first has room", async () => {
    const module = new URL("./sample-actor.ts", import.meta.url);
    const labels = { zone: "two" };
    const options = { labels, fallback: [{ labels: { zone: "!one" } }, { labels: { zone: "one" } }] };
    using actor = await cluster.actor<Sample>(module, "Sample").options(options).create(1);
    expect(await actor.add(1)).toBe(2);
    using none = await cluster.actor<Sample>(module, "Sample").options({ labels }).create(1);
    await expect(cluster.ready(none, { timeoutMs: 300 })).rejects.toThrow();
  });

  test("this node's labels count; a node that is not there is told apart from one that is full", async () => {
    const square = cluster.task<typeof tasks.square>(SAMPLE, "square");
    expect(await square.options({ labels: { zone: "one" }, strategy: "SPREAD" })(2)).toBe(4);
    const other = square.options({ labels: { zone: "!one" }, timeoutMs: 1_000 });
    await expect(other(2)).rejects.toThrow(/infeasible: no node has the labels zone=!one/);
    expect(await square.options({ labels: { zone: "two" }, fallback: [{ labels: { zone: "one" } }] })(3)).toBe(9);
    const typed = square.options({ acceleratorType: "H100", timeoutMs: 1_000 });
    await expect(typed(2)).rejects.toThrow(/infeasible: 0.001 accelerator_type:H100 wanted/);
  });

  test("choices that are none are refused, naming them", () => {
    const square = cluster.task<typeof tasks.square>(SAMPLE, "square");
    const wrong: [SchedulingOptions, RegExp][] = [
      [{ strategy: "PACK" as never }, /strategy must be DEFAULT or SPREAD; got PACK/],
      [{ strategy: "SPREAD", nodeAffinity: { nodeId: "node_a" } }, /exclude each other/],
      [{ labels: { "no label": "x" } }, /is no label's name/],
      [{ labels: { zone: "in(a" } }, /labels.zone must be value, !value, in\(a,b\) or !in\(a,b\); got "in\(a"/],
      [{ fallback: {} as never }, /fallback must be a list of \{ labels \}/],
    ];
    for (const [options, message] of wrong) {
      expect(() => square.options(options)).toThrow(message);
    }
  });
});
