import { type ResourceUnits, toAmounts } from "@whipray/core";
import { type ActorRow, type GroupRow, type NodeRow, pinIn, withoutPin } from "@whipray/rpc";
import { daemons } from "whipray";
import { type DeviceStatus, deviceStatus } from "./device-status.ts";

/** What `status --json` prints. Keys are stable. */
export interface ClusterStatus {
  address: string;
  /** The head's port speaks TLS. */
  tls: boolean;
  /** The pin of the head's authority, where the address has it. */
  pin?: string | undefined;
  /** The head is reached over plain text beyond this machine, or a living node's port is open to such. */
  insecurePlaintext: boolean;
  nodes: NodeStatus[];
  /** Of living nodes, as people write amounts: CPU 0.5, memory in bytes. */
  resources: Record<string, { used: number; total: number }>;
  placementGroups: {
    id: string;
    name?: string | undefined;
    state: string;
    strategy: string;
    bundles: number;
    /** Devices of placed bundles: `bundle 0 on node_a: 4 × GPU 0-3: NV18 mesh, NUMA 0`. */
    choices: string[];
    reasons: string[];
  }[];
  actors: {
    id: string;
    name?: string | undefined;
    className: string;
    state: string;
    nodeId?: string | undefined;
    pid?: number | undefined;
    /** Its devices: `2 × GPU 2-3: NV12, NUMA 0`. */
    choice?: string | undefined;
    reason?: string | undefined;
  }[];
}

export interface NodeStatus {
  id: string;
  name: string;
  state: string;
  ip: string;
  /** `direct`: peers dial its port; `relay`: everything goes through the head. */
  reach: "direct" | "relay";
  /** Its port speaks TLS; absent where it has none. */
  tls?: boolean | undefined;
  pid: number;
  deathReason?: string | undefined;
  /** Why it is SUSPECT. */
  suspectReason?: string | undefined;
  resources: Record<string, { used: number; total: number }>;
  devices: DeviceStatus[];
  /** The last look at the devices: its age, and why the newest one failed. */
  look?: { agoMs: number; stale?: string | undefined } | undefined;
}

/** Rows of the head as `status` shows them. Dead actors and removed groups are left out. Pure. */
export function clusterStatus(
  address: string,
  nodes: readonly NodeRow[],
  groups: readonly GroupRow[],
  actors: readonly ActorRow[],
): ClusterStatus {
  const shown = nodes.map((node) => nodeStatus(node, groups, actors));
  const urls = [address, ...nodes.flatMap(({ state, url }) => (url === undefined || state === "DEAD" ? [] : [url]))];
  const resources: ClusterStatus["resources"] = {};
  for (const node of shown) {
    if (node.state === "DEAD") continue;
    for (const [name, { used, total }] of Object.entries(node.resources)) {
      const sum = resources[name] ?? { used: 0, total: 0 };
      resources[name] = { used: sum.used + used, total: sum.total + total };
    }
  }
  return {
    address: withoutPin(address),
    tls: address.startsWith("wss:"),
    pin: pinIn(address),
    insecurePlaintext: urls.some((url) => url.startsWith("ws:") && !daemons.isLoopback(new URL(url).hostname)),
    nodes: shown,
    resources,
    placementGroups: groups.filter((group) => group.state !== "REMOVED").map(groupStatus),
    actors: actors.filter((actor) => actor.state !== "DEAD").map(actorStatus),
  };
}

export function groupStatus({
  pgId,
  name,
  state,
  strategy,
  bundles,
  reasons,
}: GroupRow): ClusterStatus["placementGroups"][number] {
  return {
    id: pgId,
    name,
    state,
    strategy,
    bundles: bundles.length,
    choices: bundles.flatMap(({ index, nodeId, choice }) => {
      return choice === undefined ? [] : [`bundle ${index} on ${nodeId}: ${choice}`];
    }),
    reasons: reasons.map(({ bundle, kind, text }) => `bundle ${bundle} (${kind}): ${text}`),
  };
}

export function actorStatus({
  actorId,
  name,
  className,
  state,
  nodeId,
  pid,
  choice,
  waiting,
  death,
}: ActorRow): ClusterStatus["actors"][number] {
  return { id: actorId, name, className, state, nodeId, pid, choice, reason: death?.message ?? waiting };
}

export function nodeStatus(
  node: NodeRow,
  groups: readonly GroupRow[] = [],
  actors: readonly ActorRow[] = [],
): NodeStatus {
  const { nodeId, name, state, ip, url, pid, deathReason, suspectReason, seen } = node;
  return {
    id: nodeId,
    name,
    state,
    ip,
    reach: url === undefined ? "relay" : "direct",
    tls: url?.startsWith("wss:"),
    pid,
    deathReason,
    suspectReason,
    resources: resourcesOf(node),
    devices: deviceStatus(node, groups, actors),
    look: seen && { agoMs: seen.agoMs, stale: seen.stale },
  };
}

/** Used and total of one node. Marker resources (accelerator types, 0.001 of a unit and below) are left out. */
function resourcesOf({ total, devices, view }: NodeRow): NodeStatus["resources"] {
  const free: Record<string, number> = { ...view.free };
  for (const device of devices) {
    free[device.resource] = (free[device.resource] ?? 0) + (view.devices[device.uuid] ?? 0);
  }
  const [totals, frees]: ResourceUnits[] = [toAmounts(total), toAmounts(free)];
  return Object.fromEntries(
    Object.entries(totals!).map(([name, amount]) => [
      name,
      { used: round(Math.max(0, amount - (frees![name] ?? 0))), total: amount },
    ]),
  );
}

function round(amount: number): number {
  return Math.round(amount * 10_000) / 10_000;
}

/** `2/8 CPU`, memory in GiB. */
export function showUse(name: string, { used, total }: { used: number; total: number }): string {
  if (name.endsWith("memory")) return `${gib(used)}/${gib(total)} GiB ${name}`;
  return `${used}/${total} ${name}`;
}

function gib(bytes: number): string {
  return (bytes / 2 ** 30).toFixed(1);
}
