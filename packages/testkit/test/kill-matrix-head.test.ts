import { RayScheduler } from "@whipray/scheduler";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Cluster } from "whipray";
import { describeLeaks } from "../src/leak-check.ts";
import type { RealCluster } from "../src/real-cluster.io.ts";
import { runs, until } from "./outside.ts";
import { PATIENCE_MS, Rank, type Stage, startStage } from "./stage.ts";

// F6, P7, P8: the head is killed, and nobody else notices. Those whose only road is the head: tunnel-kills.test.ts.
const TEST_MS = 90_000;
let real: RealCluster;
let cluster: Cluster;
let stage: Stage;

beforeEach(async () => {
  real = await startStage();
  cluster = await real.connect({ namespace: "test" });
  stage = { real, cluster, scheduler: new RayScheduler({ cluster, destroyTimeoutMs: 2_000 }) };
}, TEST_MS);

afterEach(async (context) => {
  if (context.task.result?.state === "fail") console.error(real.logs());
  await stage.scheduler[Symbol.asyncDispose]();
  expect(describeLeaks(await real.stop())).toBe("");
}, TEST_MS);

for (const when of ["idle", "busy"] as const) {
  test(
    `SIGKILL of the head (${when}): all others keep their pids, calls go on; a restarted head finds all again and the scheduler goes on`,
    async () => {
      const ranks = [await Rank.start(stage, "near", "near"), await Rank.start(stage, "far", "far")];
      const pids = [
        ...real.raylets.map(({ pid }) => pid),
        ...ranks.flatMap(({ engine, guard, worker }) => [engine, guard, worker]),
      ];
      const calls = when === "busy" ? await Promise.all(ranks.map((rank) => rank.running(3, rank.id))) : [];
      await real.head.kill();
      // Those that ran, and new ones, return without any head.
      expect(await Promise.all(calls.map(({ outcome }) => outcome))).toEqual(calls.map((_, index) => ranks[index]!.id));
      expect(await Promise.all(ranks.map((rank) => rank.call("record", ["headless"])))).toEqual([
        "headless",
        "headless",
      ]);
      const waiting = Rank.start(stage, "waiting", "near");
      waiting.catch(() => {}); // it is looked at below
      await real.head.restart();
      await until("both nodes are back", PATIENCE_MS, async () => {
        const nodes = await cluster.nodes();
        return nodes.filter(({ state }) => state === "ALIVE").length === 2;
      });
      expect(pids.every(runs)).toBe(true);
      for (const rank of ranks) {
        const once = [...(when === "busy" ? [rank.id] : []), "headless"];
        expect(await rank.call("tokens")).toEqual(once);
        const row = await cluster.actorRow(await cluster.getActor(rank.id.replace("/", ".")));
        expect(row.state).toBe("ALIVE");
      }
      const groups = (await cluster.placementGroupTable()).filter(({ state }) => state === "CREATED");
      expect(groups.map(({ name }) => name)).toEqual(expect.arrayContaining(["far", "near"]));
      expect(await (await waiting).call("echo", ["waited"])).toBe("waited");
      expect(await (await Rank.start(stage, "late", "far")).call("echo", ["late"])).toBe("late");
      await stage.scheduler.deleteWorkers();
      await until("all is free", PATIENCE_MS, async () => {
        const free = await cluster.availableResources();
        return free["near"] === 4 && free["far"] === 4;
      });
    },
    TEST_MS,
  );
}
