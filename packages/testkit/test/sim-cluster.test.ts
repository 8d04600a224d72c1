import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { Head } from "@whipray/head";
import { NodeStore } from "@whipray/objects";
import { Raylet } from "@whipray/raylet";
import { loadObjectClient } from "@whipray/worker";
import { describe, expect, test } from "vitest";
import { runSeeds } from "../src/sim/seeds.io.ts";
import { simulate } from "../src/sim/simulate.ts";
import { runSeed, SHORT_STEPS, STEPS } from "../src/sim/workload.ts";

/**
 * SIM_SEED runs that one alone, SIM_SEEDS so many from 1 on, SIM_STEPS so many steps of each: from 60 steps on a seed also waits
 * through all of its calm time. `node packages/testkit/src/sim/soak.io.ts 10000` does it without a test.
 */
const one = process.env["SIM_SEED"];
const count = Number(process.env["SIM_SEEDS"] ?? 1_000);
const steps = Number(process.env["SIM_STEPS"] ?? SHORT_STEPS);
const seeds = one === undefined ? Array.from({ length: count }, (_, at) => at + 1) : [Number(one)];
const SEED_MS = 2_000;

test(
  `P4, P7, P9, P11, P16: ${seeds.length} seeded schedules of work and faults keep every promise and leave nothing`,
  async () => {
    const failed = await runSeeds({ seeds, steps });
    expect(failed.map(({ seed, failure }) => `SIM_SEED=${seed} SIM_STEPS=${steps}: ${failure}`)).toEqual([]);
  },
  60_000 + (seeds.length * SEED_MS * steps) / SHORT_STEPS,
);

// A seed that fails gets a test of its own here, with its steps and what it found.
test("seed 118: a store waits for its disk without waking itself at once, again and again", async () => {
  expect((await runSeed(118, { steps: SHORT_STEPS })).simulatedMs).toBeGreaterThan(0);
});

test("seed 343: a raylet lets go of an object that it copied, though its route breaks under the release", async () => {
  expect((await runSeed(343, { steps: SHORT_STEPS })).simulatedMs).toBeGreaterThan(0);
});

test("a long schedule waits through all of its calm time", async () => {
  expect((await runSeed(7, { steps: STEPS })).simulatedMs).toBeGreaterThan(90_000);
});

test("seed 3797: a lease whose grant crossed the cancel of its request is given back", async () => {
  expect((await runSeed(3_797, { steps: SHORT_STEPS })).simulatedMs).toBeGreaterThan(0);
});

describe("a simulated cluster", () => {
  test("is made of the classes that the daemons make", async () => {
    const cluster = await simulate({ seed: 1, raylets: [{ resources: { CPU: 1 } }] });
    const driver = await cluster.driver();
    expect(cluster.head.head!.constructor).toBe(Head);
    expect(cluster.raylets[0]!.raylet!.constructor).toBe(Raylet);
    expect(cluster.raylets[0]!.store!.constructor).toBe(NodeStore);
    const [{ ObjectClient }] = await loadObjectClient();
    expect((await cluster.until(driver.objects.access.client())).constructor).toBe(ObjectClient);
    const daemons = await realNodes();
    try {
      expect(daemons.store.constructor).toBe(cluster.raylets[0]!.store!.constructor);
      expect(daemons.objects.constructor).toBe(driver.objects.store.constructor);
      expect(daemons.head.constructor).toBe(cluster.head.head!.constructor);
      expect(daemons.raylet.constructor).toBe(cluster.raylets[0]!.raylet!.constructor);
    } finally {
      await daemons.stop();
    }
  });

  test("is looked at after each event: what is wrong between two of them only is found", async () => {
    const cluster = await simulate({ seed: 1, raylets: [{ resources: { CPU: 1 } }] });
    const driver = await cluster.driver();
    const pgId = await cluster.until(driver.createGroup([{ CPU: 9 }]));
    const record = cluster.head.head!.tables!.groups.record(pgId) as { state: string };
    cluster.clock.after(5, () => {
      record.state = "CREATED";
      cluster.clock.after(0, () => {
        record.state = "PENDING";
      });
    });
    await expect(cluster.run(10)).rejects.toThrow(/^seed 1, at \d+ ms: pg_\w+ is CREATED, but its bundles are on/);
    expect(record.state).toBe("CREATED");
  });

  test("repeats with its seed, to the millisecond", async () => {
    const first = await runSeed(7, { steps: 30 });
    expect(await runSeed(7, { steps: 30 })).toEqual(first);
    expect(await runSeed(8, { steps: 30 })).not.toEqual(first);
  });
});

/** A head and a raylet started by the very functions that the daemons' main files call, and a driver by that of `init`. */
async function realNodes(): Promise<{
  head: object;
  raylet: object;
  store: object;
  objects: object;
  stop(): Promise<void>;
}> {
  const folder = join(dirname(createRequire(import.meta.url).resolve("whipray/package.json")), "src/node");
  const load = (file: string) => import(pathToFileURL(join(folder, file)).href);
  const { startHeadNode } = await load("head-node.io.ts");
  const { startRayletNode } = await load("raylet-node.io.ts");
  const runtimeRoot = mkdtempSync(join(tmpdir(), "sim-"));
  const clusterId = "cluster_simtest";
  const head = await startHeadNode({ secret: "0".repeat(64), clusterId, socket: join(runtimeRoot, "h.sock") });
  const node = await startRayletNode({
    ...{ clusterId, headUrl: head.unixUrl, token: head.tokens.raylet, runtimeRoot, cwd: runtimeRoot },
    env: { PATH: process.env["PATH"] ?? "", HOME: runtimeRoot },
  });
  const { connectDriver } = await load("../connect.ts");
  const driver = await connectDriver({ headUrl: head.unixUrl, token: head.tokens.driver, timeoutMs: 10_000 });
  return {
    head: head.head,
    raylet: node.raylet,
    store: await node.node.objects(),
    objects: driver.objects,
    async stop() {
      await driver.close(10_000);
      await node.stop();
      await head.stop();
      rmSync(runtimeRoot, { recursive: true, force: true });
    },
  };
}
