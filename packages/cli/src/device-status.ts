import { UNITS_PER_ONE } from "@whipray/core";
import type { ActorRow, DeviceInfo, DeviceState, GroupRow, NodeRow } from "@whipray/rpc";
import { table } from "./table.ts";

/** One device as `status --json` prints it. Keys are stable; what nobody knows is absent. */
export interface DeviceStatus {
  uuid: string;
  index: number;
  resource: string;
  model: string;
  numaNode?: number | undefined;
  /** CPUs next to it: `0-31,64-95`. */
  cpuAffinity?: string | undefined;
  linkDomain?: string | undefined;
  /** `ok`, or why it is not offered: `unhealthy`, `quarantined`, `busy`, `locked`; `unknown` when the vendor's tool says nothing. */
  state: string;
  reason?: string | undefined;
  /** What of it is given away, 0 to 1. */
  used: number;
  owners: { kind: "actor" | "placementGroup"; id: string; name?: string | undefined; amount: number }[];
  /** 0 to 1. */
  utilization?: number | undefined;
  memoryUsedBytes?: number | undefined;
  memoryTotalBytes?: number | undefined;
  temperatureC?: number | undefined;
  powerW?: number | undefined;
  /** Uncorrected memory errors since the driver was loaded. */
  eccErrors?: number | undefined;
  /** NVIDIA's error numbers in the kernel's log that call for a quarantine. */
  xids?: number[] | undefined;
  pids?: number[] | undefined;
  /** Who holds its lock; `doctor` alone looks. */
  lockedBy?: string | undefined;
}

/** What of a node's row tells of its devices. */
export type DeviceHome = Pick<NodeRow, "nodeId" | "devices" | "seen"> & { view: Pick<NodeRow["view"], "withheld"> };

/** The devices of one node, with those who hold them. Bundles are named where no actor in them does. Pure. */
export function deviceStatus(
  node: DeviceHome,
  groups: readonly GroupRow[],
  actors: readonly ActorRow[],
): DeviceStatus[] {
  const states = new Map((node.seen?.states ?? []).map((state) => [state.uuid, state]));
  return node.devices.map((device) => {
    const { uuid, index, resource, model, numaNode, cpuAffinity, linkDomain, memoryBytes } = device;
    const state: Partial<DeviceState> = states.get(uuid) ?? {};
    const { utilization, memoryUsedBytes, memoryTotalBytes, temperatureC, powerW, eccErrors, xids, pids } = state;
    return {
      ...{ uuid, index, resource, model, numaNode, cpuAffinity, linkDomain },
      ...stateOf(device, node),
      ...ownersOf(uuid, node.nodeId, groups, actors),
      ...{
        utilization,
        memoryUsedBytes,
        memoryTotalBytes: memoryTotalBytes ?? memoryBytes,
        ...{ temperatureC, powerW, eccErrors, xids, pids },
      },
    };
  });
}

function stateOf(
  { uuid, health, healthReason }: DeviceInfo,
  { view }: DeviceHome,
): Pick<DeviceStatus, "state" | "reason"> {
  const withheld = view.withheld?.[uuid];
  return withheld ? { state: withheld.kind, reason: withheld.reason } : { state: health, reason: healthReason };
}

function ownersOf(
  uuid: string,
  nodeId: string,
  groups: readonly GroupRow[],
  actors: readonly ActorRow[],
): Pick<DeviceStatus, "used" | "owners"> {
  const owners: DeviceStatus["owners"] = [];
  let used = 0;
  for (const { actorId, name, devices, pgId, state, nodeId: at } of actors) {
    const units = at === nodeId && state !== "DEAD" ? unitsOn(uuid, devices) : 0;
    if (units === 0) continue;
    owners.push({ kind: "actor", id: actorId, name, amount: units / UNITS_PER_ONE });
    if (pgId === undefined) used += units;
  }
  for (const { pgId, name, bundles, state } of groups) {
    if (state === "REMOVED") continue;
    const units = bundles.reduce(
      (sum, bundle) => sum + (bundle.nodeId === nodeId ? unitsOn(uuid, bundle.devices) : 0),
      0,
    );
    if (units === 0) continue;
    used += units;
    const inside = actors.some(
      (actor) => actor.pgId === pgId && actor.state !== "DEAD" && unitsOn(uuid, actor.devices) > 0,
    );
    if (!inside) owners.push({ kind: "placementGroup", id: pgId, name, amount: units / UNITS_PER_ONE });
  }
  return { used: used / UNITS_PER_ONE, owners };
}

function unitsOn(uuid: string, devices: readonly { uuid: string; units: number }[]): number {
  return devices.find((device) => device.uuid === uuid)?.units ?? 0;
}

/** Devices of all nodes as a table for people; no line without devices. */
export function deviceLines(nodes: readonly { name: string; devices: readonly DeviceStatus[] }[]): string[] {
  const rows = nodes.flatMap(({ name, devices }) =>
    devices.map((device) => [
      name,
      `${device.resource} ${device.index}`,
      device.model,
      device.numaNode === undefined ? "-" : String(device.numaNode),
      device.state === "ok" ? "ok" : device.state.toUpperCase(),
      memory(device),
      device.utilization === undefined ? "-" : `${Math.round(device.utilization * 100)} %`,
      device.temperatureC === undefined ? "-" : `${device.temperatureC} °C`,
      device.owners.map(showOwner).join(", ") || "-",
    ]),
  );
  if (rows.length === 0) return [];
  const held = nodes.flatMap(({ name, devices }) =>
    devices.flatMap(({ resource, index, state, reason, lockedBy }) => [
      ...(reason ? [`  ${name} ${resource} ${index} is ${state}: ${reason}`] : []),
      ...(lockedBy ? [`  ${name} ${resource} ${index} is held by ${lockedBy}`] : []),
    ]),
  );
  return [...table(["NODE", "DEVICE", "MODEL", "NUMA", "STATE", "MEMORY", "BUSY", "TEMP", "OWNER"], rows), ...held];
}

function memory({ memoryUsedBytes, memoryTotalBytes }: DeviceStatus): string {
  const gib = (bytes: number | undefined) => (bytes === undefined ? "-" : (bytes / 2 ** 30).toFixed(1));
  return memoryTotalBytes === undefined ? "-" : `${gib(memoryUsedBytes)}/${gib(memoryTotalBytes)} GiB`;
}

function showOwner({ id, name, amount }: DeviceStatus["owners"][number]): string {
  return amount === 1 ? (name ?? id) : `${name ?? id} (${amount})`;
}
