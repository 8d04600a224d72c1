import { spawn } from "node:child_process";
import { existsSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { delay, systemClock } from "@whipray/core";
import { expect, test } from "vitest";
import { ActorDiedError, type Cluster } from "whipray";
import { type RayletSpec, type RealCluster, startCluster } from "../src/real-cluster.io.ts";
import { endAfterEach } from "./end-after-each.ts";
import type { Resident } from "./fixtures/resident.ts";

const RESIDENT = new URL("./fixtures/resident.ts", import.meta.url);
const DEATH_MS = 10_000;
const TEST_MS = 90_000;
let cluster: RealCluster | undefined;

async function started(...raylets: RayletSpec[]): Promise<{ real: RealCluster; driver: Cluster }> {
  cluster = await startCluster({ raylets });
  return { real: cluster, driver: await cluster.connect({ namespace: "test" }) };
}

endAfterEach(() => cluster, TEST_MS);

/** An actor in each bundle of a group that spans both nodes, in the order of the raylets. */
async function onBothNodes(real: RealCluster, driver: Cluster) {
  const group = await driver.placementGroup([{ CPU: 1 }, { CPU: 1 }], { strategy: "STRICT_SPREAD", name: "both" });
  await group.ready({ timeoutMs: 20_000 });
  const { bundles } = await group.table();
  const actors = await Promise.all(
    bundles.map(async ({ index, nodeId }) => {
      const options = { placement: group.bundle(index), numCpus: 1, name: `actor${index}` };
      const actor = await driver.actor<Resident>(RESIDENT, "Resident").options(options).create();
      return { nodeId, actor };
    }),
  );
  const ordered = real.raylets.map((raylet) => actors.find(({ nodeId }) => nodeId === raylet.nodeId)!.actor);
  return { group, actors: ordered as [(typeof ordered)[number], (typeof ordered)[number]] };
}

async function until(what: string, deadlineMs: number, holds: () => boolean | Promise<boolean>): Promise<void> {
  const giveUpAt = systemClock.now() + deadlineMs;
  while (!(await holds())) {
    if (systemClock.now() > giveUpAt) throw new Error(`not within ${deadlineMs} ms: ${what}`);
    await delay(systemClock, 50);
  }
}

test(
  "a STRICT_SPREAD group puts actors on both nodes, and neither can open a path of the other",
  async ({ task }) => {
    const { real, driver } = await started({}, { foreign: true });
    const { actors } = await onBothNodes(real, driver);
    const [local, foreign] = await Promise.all(actors.map((actor) => actor.home()));
    expect(local).toMatchObject({ cwd: real.raylets[0]!.cwd });
    expect(foreign).toMatchObject({ cwd: real.raylets[1]!.cwd });
    expect(foreign!.home).not.toBe(local!.home);
    const nodes = await driver.nodes();
    expect(nodes.map(({ ip }) => ip).sort()).toEqual(["127.0.0.1", "127.0.0.2"]);
    const entries = (one: 0 | 1, of: 0 | 1): Promise<string[]> => actors[one].entries(real.raylets[of]!.runtimeRoot);
    expect(await entries(0, 0)).not.toEqual([]);
    expect(await entries(1, 1)).not.toEqual([]);
    if (real.notes.length > 0) {
      Object.assign(task.meta, { skippedBecause: real.notes.join("; ") });
      return;
    }
    expect(foreign!.host).toBe("n1");
    expect(await entries(1, 0)).toEqual([]);
    expect(await entries(0, 1)).toEqual([]);
  },
  TEST_MS,
);

test(
  "a driver that reaches only the head calls actors on both nodes",
  async () => {
    const { real, driver } = await started({ port: false }, { port: false, foreign: true });
    expect((await driver.nodes()).map(({ url }) => url)).toEqual([undefined, undefined]);
    const { actors } = await onBothNodes(real, driver);
    expect(await Promise.all(actors.map((actor) => actor.add(2)))).toEqual([2, 2]);
  },
  TEST_MS,
);

test(
  "SIGKILL of a raylet: calls on it fail with ActorDiedError naming the node, in 10 s, and no process of it is left",
  async () => {
    const { real, driver } = await started({}, { foreign: true });
    const { actors } = await onBothNodes(real, driver);
    const [pid, child] = await Promise.all([actors[0].pid(), actors[0].leaveChild()]);
    const hanging = actors[0].hang().then(
      () => undefined,
      (error: unknown) => error,
    );
    const killedAt = systemClock.now();
    await real.raylets[0]!.kill();
    const error = await hanging;
    expect(systemClock.now() - killedAt).toBeLessThan(DEATH_MS);
    expect(error).toBeInstanceOf(ActorDiedError);
    expect(String(error)).toContain(real.raylets[0]!.nodeId);
    await expect(actors[0].add(1)).rejects.toThrow(ActorDiedError);
    await until("its worker and what that started are gone", DEATH_MS, () => ![pid, child].some(runs));
    expect(await actors[1].add(1)).toBe(1);
  },
  TEST_MS,
);

test(
  "SIGKILL of the head: calls go on, pids stay, and a restarted head knows nodes, actors and groups",
  async () => {
    const { real, driver } = await started({}, { foreign: true });
    const { actors, group } = await onBothNodes(real, driver);
    const pids = await Promise.all(actors.map((actor) => actor.pid()));
    await real.head.kill();
    expect(await Promise.all(actors.map((actor) => actor.add(1)))).toEqual([1, 1]);
    await real.head.restart();
    expect(await Promise.all(actors.map((actor) => actor.add(1)))).toEqual([2, 2]);
    await until(
      "both nodes are back",
      20_000,
      async () => (await driver.nodes()).filter(({ state }) => state === "ALIVE").length === 2,
    );
    expect((await group.table()).state).toBe("CREATED");
    expect(await Promise.all(actors.map((actor) => actor.pid()))).toEqual(pids);
    // By name, actor0 is the one of bundle 0, wherever that is.
    const first = (await group.table()).bundles.find(({ index }) => index === 0)?.nodeId;
    const found = await driver.getActor<Resident>("actor0");
    expect(await found.pid()).toBe(pids[real.raylets.findIndex(({ nodeId }) => nodeId === first)]);
    const later = await driver.actor<Resident>(RESIDENT, "Resident").options({ numCpus: 1 }).create();
    expect(await later.add(5)).toBe(5);
  },
  TEST_MS,
);

test(
  "SIGKILL of the driver: its actors are gone in 10 s, its detached one stays",
  async () => {
    const { real, driver } = await started({});
    const script = fileURLToPath(new URL("./fixtures/driver.ts", import.meta.url));
    const env = { ...process.env, WHIPRAY_TOKEN: real.token };
    const lost = spawn(process.execPath, [script, real.address], { env, stdio: ["ignore", "pipe", "inherit"] });
    const line = await new Promise<string>((resolve) => lost.stdout.once("data", (chunk) => resolve(String(chunk))));
    const [owned, detached] = JSON.parse(line) as [number, number];
    lost.kill("SIGKILL");
    await until("the driver's actor is gone", DEATH_MS, () => !runs(owned));
    expect(runs(detached)).toBe(true);
    const stays = await driver.getActor<Resident>("stays", "lost");
    expect(await stays.pid()).toBe(detached);
  },
  TEST_MS,
);

test(
  "the end of the process that started a cluster ends the cluster",
  async () => {
    const script = fileURLToPath(new URL("./fixtures/starter.ts", import.meta.url));
    const starter = spawn(process.execPath, [script], { stdio: ["ignore", "pipe", "inherit"] });
    const line = await new Promise<string>((resolve) => starter.stdout.once("data", (chunk) => resolve(String(chunk))));
    const { pids, directory } = JSON.parse(line) as { pids: number[]; directory: string };
    starter.kill("SIGKILL");
    await until("head and raylets are gone", DEATH_MS * 2, () => !pids.some(runs));
    rmSync(directory, { recursive: true });
  },
  TEST_MS,
);

function runs(pid: number): boolean {
  return existsSync(`/proc/${pid}`);
}
