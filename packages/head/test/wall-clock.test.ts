import { afterEach, expect, test } from "vitest";
import { TestCluster } from "./cluster.ts";

const HOUR_MS = 3_600_000;
let cluster: TestCluster;

afterEach(() => cluster.head.stop());

test.each([
  [
    "an hour ahead, then an hour back, again and again",
    (nowMs: number) => (Math.floor(nowMs / 700) % 2 ? HOUR_MS : -HOUR_MS),
  ],
  ["at double speed", (nowMs: number) => nowMs],
])("F19: the wall clock goes %s: no node falters, nothing ends, a wait keeps its deadline", async (_, offMs) => {
  cluster = await new TestCluster().start();
  const { clock } = cluster;
  clock.wallMs = () => 1_700_000_000_000 + clock.now() + offMs(clock.now());
  const driver = await cluster.driver("d").open();
  await cluster.node("a", { CPU: 2 });
  const actorId = await driver.actor({ CPU: 1 });
  await driver.alive(actorId);
  const pgId = await driver.group([{ CPU: 4 }], { timeoutMs: 20_000 });
  const state = (): string | undefined => cluster.head.status().nodes[0]?.state;
  for (let second = 0; second < 19; second++) {
    await cluster.run(1_000);
    expect(state()).toBe("ALIVE");
  }
  expect(await driver.row(actorId)).toMatchObject({ state: "ALIVE", restarts: 0 });
  expect(await driver.table(pgId)).toMatchObject({ state: "PENDING" });
  await cluster.run(2_000);
  expect((await driver.table(pgId)).state).not.toBe("PENDING");
});
