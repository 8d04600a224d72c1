import { afterEach, expect } from "vitest";
import { describeLeaks } from "../src/leak-check.ts";
import type { RealCluster } from "../src/real-cluster.io.ts";

/** After each test its cluster ends, tells its logs if the test failed, and must have left nothing. */
export function endAfterEach(clusterOfTest: () => RealCluster | undefined, timeoutMs: number): void {
  let ended: RealCluster | undefined;
  afterEach(async ({ task }) => {
    const cluster = clusterOfTest();
    if (!cluster || cluster === ended) return; // a test that started none
    ended = cluster;
    if (task.result?.state === "fail") console.error(cluster.logs());
    expect(describeLeaks(await cluster.stop())).toBe("");
  }, timeoutMs);
}
