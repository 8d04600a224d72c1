import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import type { ActorHandle, Cluster, ObjectRef } from "whipray";
import { type RayletSpec, type RealCluster, startCluster } from "../src/real-cluster.io.ts";
import { endAfterEach } from "./end-after-each.ts";
import type { ObjectMaker } from "./fixtures/object-maker.ts";

const MAKER = new URL("./fixtures/object-maker.ts", import.meta.url);
const TEST_MS = 90_000;
const MIB = 1_048_576;
/** 8 MiB: two chunks of a transfer. */
const LENGTH = MIB;
let real: RealCluster;

async function started(...raylets: RayletSpec[]): Promise<Cluster> {
  const resources = { CPU: 2, object_store_memory: 64 * MIB };
  real = await startCluster({ raylets: raylets.map((spec) => ({ resources, ...spec })) });
  return real.connect({ namespace: "test" });
}

endAfterEach(() => real, TEST_MS);

async function makerOn(driver: Cluster, raylet: number): Promise<ActorHandle<ObjectMaker>> {
  const { nodeId } = real.raylets[raylet]!;
  return driver.actor<ObjectMaker>(MAKER, "ObjectMaker").options({ nodeAffinity: { nodeId } }).create();
}

/** Segments that a process of this machine reads. */
function segmentsMapped(pid: number): number {
  const lines = readFileSync(`/proc/${pid}/maps`, "utf8").split("\n");
  return lines.filter((line) => line.includes("memfd:whipray-") && line.includes(" rw-p ")).length;
}

/** Objects by node: copies are marked. */
async function where(driver: Cluster): Promise<string[][]> {
  const lists = await driver.listObjects();
  return real.raylets.map(({ nodeId }) => {
    const objects = lists.find((list) => list.nodeId === nodeId)?.objects ?? [];
    // Writers ask for room ahead.
    return objects.filter(({ state }) => state !== "writing").map(({ copy }) => (copy ? "copy" : "primary"));
  });
}

test(
  "an object is copied to the node that reads it, and is gone everywhere when its owner disposes it",
  async () => {
    const driver = await started({}, { foreign: true });
    const [here, there] = await Promise.all([makerOn(driver, 0), makerOn(driver, 1)]);
    const ref = here.make.remote(LENGTH, 2) as ObjectRef<Float64Array>;
    expect(await there.sumOf({ ref })).toBe(2 * LENGTH);
    expect(await where(driver)).toEqual([["primary"], ["copy"]]);
    expect(await there.sum(ref)).toBe(2 * LENGTH);
    const far = there.make.remote(LENGTH, 3) as ObjectRef<Float64Array>;
    await driver.wait([far], { fetchLocal: false });
    expect((await where(driver))[0]).toEqual(["primary"]);
    await driver.wait([far]);
    expect((await where(driver))[0]).toEqual(["primary", "copy"]);
    const got = await driver.get(far);
    expect([got[0], got[LENGTH - 1]]).toEqual([3, 3]);
    expect(driver.release(got)).toBe(true);
    ref.dispose();
    far.dispose();
    await expect.poll(() => where(driver), { timeout: 20_000 }).toEqual([[], []]);
  },
  TEST_MS,
);

test(
  "OBJECT_LOST: the node that has it dies; what was copied here before stays readable",
  async () => {
    const driver = await started({}, { foreign: true });
    const there = await makerOn(driver, 1);
    const [lost, kept] = [there.make.remote(LENGTH, 4), there.make.remote(LENGTH, 5)] as ObjectRef<Float64Array>[];
    await driver.wait([lost!, kept!], { numReturns: 2, fetchLocal: false });
    const got = await driver.get(kept!);
    await real.raylets[1]!.kill("SIGKILL");
    await expect(driver.get(lost!, { timeoutMs: 60_000 })).rejects.toMatchObject({ code: "OBJECT_LOST" });
    expect(got[7]).toBe(5);
    // A killed raylet leaves its folder to the next one.
    rmSync(real.raylets[1]!.runtimeRoot, { recursive: true, force: true });
  },
  TEST_MS,
);

test(
  "an object ends with its owner's session: a driver that leaves takes its objects along, on every node",
  async () => {
    const driver = await started({}, { foreign: true });
    const other = await real.connect({ namespace: "other" });
    const reader = await makerOn(driver, 1);
    const ref = await other.put(new Float64Array(LENGTH).fill(1));
    expect(await where(driver)).toEqual([["primary"], []]);
    const far = await makerOn(other, 1);
    expect(await far.sum(ref)).toBe(LENGTH);
    await other.close();
    await expect.poll(() => where(driver), { timeout: 20_000 }).toEqual([[], []]);
    expect(await reader.sum(new Float64Array(10).fill(1))).toBe(10);
  },
  TEST_MS,
);

test(
  "a driver without a raylet on its machine puts into its home raylet, and reads bytes",
  async () => {
    const driver = await started({ foreign: true });
    const ref = await driver.put(new Float64Array(LENGTH).fill(6));
    expect(await where(driver)).toEqual([["primary"]]);
    const got = await driver.get(ref);
    expect([got.length, got[LENGTH - 1]]).toEqual([LENGTH, 6]);
    expect(driver.release(got)).toBe(false);
    const actor = await makerOn(driver, 0);
    expect(await actor.sum(ref)).toBe(6 * LENGTH);
    expect(await actor.sum(new Float64Array(LENGTH).fill(1))).toBe(LENGTH);
    expect((await actor.make(LENGTH, 8))[5]).toBe(8);
    ref.dispose();
    await expect.poll(() => where(driver), { timeout: 20_000 }).toEqual([[]]);
  },
  TEST_MS,
);

test(
  "SIGKILL of a driver: what it put and what it held is free in seconds",
  async () => {
    const driver = await started({});
    const program = fileURLToPath(new URL("./fixtures/putting-driver.ts", import.meta.url));
    const child = spawn(process.execPath, [program, real.address, real.token], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    await once(child.stdout, "data");
    expect(await where(driver)).toEqual([["primary"]]);
    child.kill("SIGKILL");
    await expect.poll(() => where(driver), { timeout: 8_000 }).toEqual([[]]);
  },
  TEST_MS,
);

test(
  "an idle reader lets go of what its owner freed, here and on the other node, without any call that makes it collect",
  async () => {
    const driver = await started({}, { foreign: true });
    const [here, there] = await Promise.all([makerOn(driver, 0), makerOn(driver, 1)]);
    const ref = await driver.put(new Float64Array(LENGTH).fill(1));
    expect(await Promise.all([here.sum(ref), there.sum(ref)])).toEqual([LENGTH, LENGTH]);
    expect(segmentsMapped(await here.pid())).toBe(1);
    ref.dispose();
    await expect.poll(() => where(driver), { timeout: 20_000 }).toEqual([[], []]);
    expect(segmentsMapped(await here.pid())).toBe(0);
  },
  TEST_MS,
);

test(
  "a reader that keeps a freed object reads on, is named by its raylet, and lets go when it drops it",
  async () => {
    const driver = await started({});
    const actor = await makerOn(driver, 0);
    const ref = await driver.put(new Float64Array(LENGTH).fill(1));
    await actor.keep(ref);
    ref.dispose();
    await expect.poll(() => real.logs(), { timeout: 40_000 }).toMatch(/an object that its owner freed is still held/);
    const [list] = await driver.listObjects({ filters: { freed: true } });
    expect(list?.objects).toMatchObject([{ holders: [expect.stringMatching(/worker_\w+ inc_/)] }]);
    expect(await actor.kept()).toBe(LENGTH);
    await actor.keep(undefined);
    await expect.poll(() => where(driver), { timeout: 60_000 }).toEqual([[]]);
  },
  TEST_MS,
);
