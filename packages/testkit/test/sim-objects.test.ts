import { describe, expect, test } from "vitest";
import { ObjectUser } from "../src/sim/object-user.ts";
import type { ObjectLife } from "../src/sim/sim-objects.ts";
import { simulate } from "../src/sim/simulate.ts";
import { actorOn, three } from "./sim-nodes.ts";

describe("objects", () => {
  const WORDS = 30_000;

  test("a value of one node goes to actors of others, and is what was put", async () => {
    const { cluster, driver } = await three();
    const user = new ObjectUser(cluster.world);
    const life = await cluster.until(user.put(driver, WORDS));
    for (const raylet of cluster.raylets) {
      const actorId = await actorOn(cluster, driver, raylet, 0);
      await cluster.until(user.pass(driver, { actorId }, life, 0));
    }
    expect(cluster.snapshot().stores).toHaveLength(3);
    user.dispose(life);
    const empty = () => cluster.snapshot().stores.every((store) => store.objects().length === 0);
    await cluster.when("owner and copies are gone", empty, 5_000);
  });

  test("when the raylet that has it is killed it is lost, and whoever asks is told so", async () => {
    const { cluster, driver } = await three();
    const user = new ObjectUser(cluster.world);
    const life = await cluster.until(user.put(driver, WORDS));
    const { location } = life.ref.source.stored!;
    const home = cluster.raylets.find(({ nodeId }) => location === `${nodeId}/raylet`)!;
    const far = cluster.raylets.find((raylet) => raylet !== home)!;
    const actorId = await actorOn(cluster, driver, far, 0);
    home.kill();
    // A raylet asks the head whether the other one still lives; a driver elsewhere waits for the end of its session.
    const passed = cluster.until(user.pass(driver, { actorId }, life, 0), 10_000);
    await expect(passed).rejects.toMatchObject({ code: "OBJECT_LOST" });
    await expect(cluster.until(user.get(driver, life, 60_000))).rejects.toMatchObject({ code: "OBJECT_LOST" });
  });

  test("when its owner dies others are told that, and its store forgets it", async () => {
    const { cluster, driver } = await three();
    const user = new ObjectUser(cluster.world);
    const actorId = await actorOn(cluster, driver, cluster.raylets[0]!, 0);
    const life = await cluster.until(user.keep(driver, actorId, WORDS));
    await cluster.until(user.get(driver, life));
    const other = await cluster.driver();
    await cluster.until(driver.killActor(actorId));
    await expect(cluster.until(user.get(other, life))).rejects.toMatchObject({ code: "OWNER_DIED" });
    const empty = () => cluster.snapshot().stores.every((store) => store.objects().length === 0);
    await cluster.when("it is gone", empty, 5_000);
  });

  test("a store of half a MiB keeps a dozen values on its disk, and gives each of them", async () => {
    const cluster = await simulate({ seed: 1, raylets: [{ resources: { CPU: 4 }, storeBytes: 524_288 }] });
    const driver = await cluster.driver();
    const user = new ObjectUser(cluster.world);
    const lives: ObjectLife[] = [];
    for (let at = 0; at < 12; at++) lives.push(await cluster.until(user.put(driver, WORDS)));
    expect(cluster.snapshot().stores[0]!.files().length).toBeGreaterThanOrEqual(8);
    for (const life of lives) await cluster.until(user.get(driver, life));
  });
});
