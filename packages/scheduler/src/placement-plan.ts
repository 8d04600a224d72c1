import type { LinkRule, ResourceAmounts } from "@whipray/core";
import type { Strategy } from "@whipray/rpc";
import { amountsOf } from "./amounts.ts";
import { splitBundles } from "./bundle-split.ts";
import { sharedDevices } from "./device-share.ts";
import { GPUAllocationError, WorkerCreationError } from "./errors.ts";
import type { FullSpec } from "./job.ts";
import { nodePlan } from "./node-plan.ts";

/** What one worker holds, and the bundle that was cut for it. */
export interface WorkerPlan {
  readonly group: number;
  readonly bundle: number;
  readonly cpu: number;
  /** Devices that the worker itself takes. */
  readonly devices: number;
  readonly mem: number;
  readonly resources: ResourceAmounts;
  /** Devices of its bundle that are meant for it. */
  readonly bundleDevices: number;
  /** It holds nothing itself: its engines take its bundle, whole, when the first one starts. */
  readonly claims: boolean;
  readonly captureChildTasks: boolean;
  /** Bundles of its instance, one after another: 1 unless it spans several nodes. */
  readonly nodes: number;
  /** Equal for workers with equal needs. */
  readonly kind: string;
}

/** The groups of a role, and the workers in them. */
export interface RolePlan {
  readonly groups: readonly (readonly ResourceAmounts[])[];
  /** Labels that each bundle's node must have. */
  readonly labels: readonly (readonly FullSpec["labels"][])[];
  /** How the devices of each bundle must be linked. */
  readonly links: readonly (readonly LinkRule[])[];
  readonly strategy: Strategy;
  readonly workers: readonly WorkerPlan[];
  /** Several workers share a bundle: a fork cannot be bound to its target's device by the bundle alone. */
  readonly sharesBundles: boolean;
}

/**
 * How the workers of a role are placed. `device` is GPU, NPU, or CPU where the cluster has neither.
 * @throws WorkerCreationError for mixed placements or strategies and devices on a cluster without any; GPUAllocationError when
 *   a worker asks for more devices than a node has and its placement keeps it on one (areal 6.14).
 */
export function planRole(
  role: string,
  specs: readonly FullSpec[],
  cluster: { device: string; nGpusPerNode: number },
): RolePlan {
  const first = specs[0]!;
  const mode = first.rayPlacementStrategy;
  if (specs.some((spec) => spec.rayPlacementStrategy !== mode || spec.strategy !== first.strategy)) {
    throw new WorkerCreationError(role, "all tasks of a job must have the same rayPlacementStrategy and strategy");
  }
  const { device, nGpusPerNode } = cluster;
  const largest = Math.max(...specs.map((spec) => spec.gpu));
  if (largest > 0 && device === "CPU") {
    throw new WorkerCreationError(role, `gpu ${largest} was asked for, but no node of the cluster has a GPU or NPU`);
  }
  if ((mode === "shared" || mode === "separate") && largest > nGpusPerNode) {
    throw new GPUAllocationError(
      `a worker of role '${role}' asks for ${largest} devices, a node has ${nGpusPerNode}; placement '${mode}' keeps it on one node, 'deferred' and 'node' do not`,
    );
  }
  const { strategy } = first;
  if (mode === "node") return planByNode(role, specs, cluster);
  const own = specs.map((spec) =>
    mode === "deferred" ? splitBundles(spec, nGpusPerNode, device) : [amountsOf(spec, device)],
  );
  const labels = own.map((bundles, index) => bundles.map(() => specs[index]!.labels));
  const links = own.map((bundles, index) => bundles.map(() => specs[index]!.links));
  return {
    groups: mode === "shared" ? [own.flat()] : own,
    labels: mode === "shared" ? [labels.flat()] : labels,
    links: mode === "shared" ? [links.flat()] : links,
    strategy,
    workers: specs.map((spec, index) => ({
      ...(mode === "shared" ? { group: 0, bundle: index } : { group: index, bundle: 0 }),
      ...(mode === "deferred" ? NOTHING : takes(spec, mode === "shared")),
      bundleDevices: spec.gpu,
      nodes: own[index]!.length,
      kind: kindOf(spec),
    })),
    sharesBundles: false,
  };
}

// What it needs to run is its engine's affair (AReaL: 0 CPUs, devices and memory).
const NOTHING = { cpu: 0, devices: 0, mem: 0, resources: {}, claims: true, captureChildTasks: true };

function takes(
  { cpu, gpu, mem, resources }: Pick<FullSpec, "cpu" | "gpu" | "mem" | "resources">,
  shared: boolean,
): Omit<WorkerPlan, "group" | "bundle" | "bundleDevices" | "nodes" | "kind"> {
  return { cpu, devices: shared ? sharedDevices(gpu) : gpu, mem, resources, claims: false, captureChildTasks: true };
}

function planByNode(
  role: string,
  specs: readonly FullSpec[],
  { device, nGpusPerNode }: { device: string; nGpusPerNode: number },
): RolePlan {
  const spec = specs[0]!;
  if (specs.some((other) => kindOf(other) !== kindOf(spec))) {
    throw new WorkerCreationError(role, "placement 'node' needs the same resources for all workers");
  }
  const plan = nodePlan(spec, specs.length, nGpusPerNode, device);
  // Of an instance over several nodes the head, and each launcher beside it, takes its node's share whole.
  const nodes = plan.nodesPerWorker;
  const { cpu, gpu, mem, resources } = spec;
  const held = takes({ cpu: cpu / nodes, gpu: gpu / nodes, mem: mem / nodes, resources }, true);
  return {
    groups: [plan.bundles],
    labels: [plan.bundles.map(() => spec.labels)],
    links: [plan.bundles.map(() => spec.links)],
    strategy: spec.strategy,
    workers: plan.workers.flatMap((count, bundle) =>
      Array.from({ length: count }, () => ({
        group: 0,
        bundle,
        ...held,
        bundleDevices: gpu / nodes,
        nodes,
        kind: kindOf(spec),
      })),
    ),
    sharesBundles: plan.workers.some((count) => count > 1),
  };
}

/** What makes two workers alike. */
const KIND = [
  "cpu",
  "gpu",
  "mem",
  "resources",
  "labels",
  "links",
  "envVars",
  "runtimeEnv",
  "cmd",
  "python",
  "cwd",
  "pty",
  "portCount",
] as const satisfies readonly (keyof FullSpec)[];

function kindOf(spec: FullSpec): string {
  return JSON.stringify(KIND.map((key) => spec[key]));
}
