import type { ResourceAmounts } from "@whipray/core";
import { amountsOf } from "./amounts.ts";
import { invalid } from "./errors.ts";
import type { FullSpec } from "./job.ts";

/** One group of one bundle a node, and how many workers start in each (AReaL R2: `_build_node_plan`). */
export interface NodePlan {
  readonly bundles: readonly ResourceAmounts[];
  /** Workers of each bundle; 0 for the further nodes of an instance that needs several. */
  readonly workers: readonly number[];
  /** Nodes that one worker's instance takes; 1 unless it is larger than a node. */
  readonly nodesPerWorker: number;
}

/**
 * Plans `replicas` workers of one spec on nodes of `nGpusPerNode` devices (areal 6.18). Without devices: one bundle for all.
 * Larger than a node: whole nodes, of which the first starts the worker. Else nodes are filled one after another.
 * @throws SchedulerError `INVALID_ARGUMENT` when devices, CPUs or memory do not divide by the nodes of an instance.
 */
export function nodePlan(spec: FullSpec, replicas: number, nGpusPerNode: number, device: string): NodePlan {
  const { cpu, gpu, mem } = spec;
  if (!Number.isSafeInteger(nGpusPerNode) || nGpusPerNode < 1) {
    throw invalid(`nGpusPerNode must be a whole number of 1 or more; got ${nGpusPerNode}`);
  }
  if (!Number.isSafeInteger(replicas) || replicas < 1) throw invalid(`replicas must be 1 or more; got ${replicas}`);
  const bundle = (times: number, parts = 1): ResourceAmounts =>
    amountsOf({ ...spec, cpu: (cpu * times) / parts, gpu: (gpu * times) / parts, mem: (mem * times) / parts }, device);
  if (gpu === 0) return { bundles: [bundle(replicas)], workers: [replicas], nodesPerWorker: 1 };
  if (!Number.isSafeInteger(gpu)) throw invalid(`gpu must be a whole number to be planned by node; got ${gpu}`);
  if (gpu > nGpusPerNode) {
    const nodes = gpu / nGpusPerNode;
    if (!Number.isInteger(nodes)) {
      throw invalid(`gpu ${gpu} is larger than a node and no multiple of its ${nGpusPerNode} devices`);
    }
    for (const [name, amount] of [
      ["cpu", cpu],
      ["mem", mem],
    ] as const) {
      if (amount % nodes !== 0) throw invalid(`${name} ${amount} does not divide by the ${nodes} nodes of an instance`);
    }
    const all = Array.from({ length: replicas * nodes }, (_, index) => index);
    return {
      bundles: all.map(() => bundle(1, nodes)),
      workers: all.map((index) => (index % nodes === 0 ? 1 : 0)),
      nodesPerWorker: nodes,
    };
  }
  const perNode = Math.floor(nGpusPerNode / gpu);
  const workers: number[] = [];
  for (let left = replicas; left > 0; left -= perNode) workers.push(Math.min(left, perNode));
  return { bundles: workers.map((count) => bundle(count)), workers, nodesPerWorker: 1 };
}
