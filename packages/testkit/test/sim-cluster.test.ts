import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { Head } from "@whipray/head";
import { Raylet } from "@whipray/raylet";
import { describe, expect, test } from "vitest";
import { simulate } from "../src/sim/simulate.ts";
import { runSeed } from "../src/sim/workload.ts";

/** SIM_SEED runs that one alone; SIM_SEEDS runs so many from 1 on. */
const one = process.env["SIM_SEED"];
const count = Number(process.env["SIM_SEEDS"] ?? 30);
const seeds = one === undefined ? Array.from({ length: count }, (_, at) => at + 1) : [Number(one)];

test(
  `P4, P7, P9, P11, P16: ${seeds.length} seeded schedules of work and faults keep every promise and leave nothing`,
  async () => {
    const failed: string[] = [];
    for (const seed of seeds) {
      try {
        await runSeed(seed);
      } catch (error) {
        failed.push(`SIM_SEED=${seed}: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
    expect(failed).toEqual([]);
  },
  60_000 + seeds.length * 5_000,
);

describe("a simulated cluster", () => {
  test("is made of the classes that the daemons make", async () => {
    const cluster = await simulate({ seed: 1, raylets: [{ resources: { CPU: 1 } }] });
    expect(cluster.head.head!.constructor).toBe(Head);
    expect(cluster.raylets[0]!.raylet!.constructor).toBe(Raylet);
    const daemons = await realNodes();
    try {
      expect(daemons.head.constructor).toBe(cluster.head.head!.constructor);
      expect(daemons.raylet.constructor).toBe(cluster.raylets[0]!.raylet!.constructor);
    } finally {
      await daemons.stop();
    }
  });

  test("repeats with its seed, to the millisecond", async () => {
    const first = await runSeed(7, { steps: 30 });
    expect(await runSeed(7, { steps: 30 })).toEqual(first);
    expect(await runSeed(8, { steps: 30 })).not.toEqual(first);
  });
});

/** A head and a raylet started by the very functions that the daemons' main files call. */
async function realNodes(): Promise<{ head: object; raylet: object; stop(): Promise<void> }> {
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
  return {
    head: head.head,
    raylet: node.raylet,
    async stop() {
      await node.stop();
      await head.stop();
      rmSync(runtimeRoot, { recursive: true, force: true });
    },
  };
}
