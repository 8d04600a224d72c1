import type { TestContext } from "vitest";
import { networkRefusal } from "../src/namespaces.io.ts";
import type { NodeNetwork } from "../src/node-network.io.ts";
import type { RealCluster } from "../src/real-cluster.io.ts";
import { rayletAt, skipBecause, startStage } from "./stage.ts";

/** Why this machine allows no network namespaces. */
export const networkRefused = networkRefusal();

/** Skips the test where network namespaces are not allowed. */
export function needNetwork(context: TestContext): void {
  if (networkRefused !== undefined) skipBecause(context, networkRefused);
}

/** As `startStage`, with a network namespace for the far node. */
export function startNetworkStage(): Promise<RealCluster> {
  return startStage({}, { network: "own" });
}

export function networkOf(real: RealCluster): NodeNetwork {
  return rayletAt(real, "far").network!;
}
