/** Used share up to which nodes count as equally free (Ray: `scheduler_spread_threshold`). */
export const SPREAD_THRESHOLD = 0.5;

/** A node that could take the work now. */
export interface HybridNode {
  /** It has devices and the work asks for none: such nodes are kept for those who need them (Ray: `scheduler_avoid_gpu_nodes`). */
  readonly wastes: boolean;
  /** Used share of its fullest resource, the work included. */
  readonly used: number;
}

/**
 * Ray's hybrid policy, made deterministic, as an order for `sort`: nodes stay equal until their fullest resource is half used, so work packs
 * onto the first one; above that the least used wins (ray.md 1.4).
 */
export function byHybrid(left: HybridNode, right: HybridNode): number {
  return Number(left.wastes) - Number(right.wastes) || hybridScore(left.used) - hybridScore(right.used);
}

/** Nodes up to the threshold count as equally free. */
export function hybridScore(used: number): number {
  return used < SPREAD_THRESHOLD ? 0 : used;
}
