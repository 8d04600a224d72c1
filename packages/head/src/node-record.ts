import { DeviceTopology, type LinkMatrix, type ResourceUnits, UNITS_PER_ONE, type Units } from "@whipray/core";
import type { DeviceInfo, DeviceReport, NodeRegister, NodeRow, NodeView } from "@whipray/rpc";
import { isDeviceResource } from "./placement/devices.ts";
import type { NodeRoom } from "./placement/room.ts";

/** What the journal keeps of a node: who it is, never what is free on it. */
export interface NodeRecord {
  readonly nodeId: string;
  inc: string;
  /** Grows with each registration that starts from nothing; work of an older epoch is not this node's any more. */
  epoch: number;
  name: string;
  hostname: string;
  ip: string;
  url?: string | undefined;
  socket?: string | undefined;
  pid: number;
  pidNamespace?: string | undefined;
  version: string;
  total: Record<string, Units>;
  devices: DeviceInfo[];
  links?: LinkMatrix | undefined;
  labels: Record<string, string>;
  dead: boolean;
  deathReason?: string | undefined;
  /** A look at it once found it, so that finding nobody later means something. */
  reachable: boolean;
}

/** Amounts that a plan has taken on a node and that its view does not show yet. */
export interface Claim {
  readonly units: ResourceUnits;
  readonly devices: readonly { uuid: string; units: Units }[];
  readonly madeAtMs: number;
  /** A start's claim ends by itself once a view shows it; a prepare's when the raylet answers. */
  readonly settles: boolean;
  /** The view at that time. */
  readonly before: NodeView;
}

export function recordOf(request: NodeRegister, epoch: number): NodeRecord {
  const { nodeId, inc, name, hostname, ip, url, socket, pid, pidNamespace, version, total, devices, links, labels } =
    request;
  const known = { nodeId, inc, epoch, name, hostname, ip, pid, version, total, devices, labels };
  const more = {
    ...(url !== undefined && { url }),
    ...(socket !== undefined && { socket }),
    ...(pidNamespace !== undefined && { pidNamespace }),
    ...(links && { links }),
  };
  return { ...known, ...more, dead: false, reachable: false };
}

/** How the devices of a node reach each other. @throws WhiprayError `INVALID_LINKS`. */
export function topologyOf({ devices, links }: Pick<NodeRecord, "devices" | "links">): DeviceTopology {
  return new DeviceTopology(
    devices.map(({ uuid, index, numaNode, cpuAffinity, linkDomain, vendor, acceleratorType }) => {
      return { uuid, index, numaNode, cpuAffinity, linkDomain, family: acceleratorType ?? vendor };
    }),
    links,
  );
}

/** Devices that one reason names. */
export const WITHHELD_SHOWN = 8;

/** `GPU 3 (busy: foreign pid 77)`; undefined for a device that is offered. */
export function showWithheld(
  { uuid, index, resource }: Pick<DeviceInfo, "uuid" | "index" | "resource">,
  withheld: NonNullable<NodeView["withheld"]>,
): string | undefined {
  const why = Object.hasOwn(withheld, uuid) ? withheld[uuid] : undefined;
  return why && `${resource} ${index} (${why.kind}: ${why.reason})`;
}

/** What is free now: the raylet's view without the head's own claims on it. */
export function roomNow(
  record: NodeRecord,
  topology: DeviceTopology,
  view: NodeView,
  claims: Iterable<Claim>,
): NodeRoom {
  const free = { ...view.free };
  const shares = { ...view.devices };
  for (const claim of claims) {
    for (const grant of claim.devices) shares[grant.uuid] = Math.max(0, (shares[grant.uuid] ?? 0) - grant.units);
    for (const name in claim.units) {
      if (!isDeviceResource(name, record.devices)) free[name] = Math.max(0, (free[name] ?? 0) - claim.units[name]!);
    }
  }
  const withheld = record.devices
    .flatMap((device) => showWithheld(device, view.withheld ?? {}) ?? [])
    .slice(0, WITHHELD_SHOWN);
  return { ...roomWith(record, topology, free, (device) => shares[device.uuid] ?? 0), withheld };
}

/** What the node has when nothing runs on it. */
export function roomTotal(record: NodeRecord, topology: DeviceTopology): NodeRoom {
  const scalars = Object.entries(record.total).filter(([name]) => !isDeviceResource(name, record.devices));
  return roomWith(record, topology, Object.fromEntries(scalars), () => UNITS_PER_ONE);
}

function roomWith(
  record: NodeRecord,
  topology: DeviceTopology,
  free: ResourceUnits,
  share: (device: DeviceInfo) => Units,
): NodeRoom {
  const devices = record.devices
    .filter((device) => device.health !== "unhealthy")
    .map((device) => ({
      uuid: device.uuid,
      index: device.index,
      resource: device.resource,
      units: share(device),
    }));
  return { nodeId: record.nodeId, labels: record.labels, free, devices, topology };
}

/** Whether a view, compared with the one before the claim, already lacks what the claim took. */
export function shows(view: NodeView, claim: Claim): boolean {
  if (view.version <= claim.before.version) return false;
  for (const { uuid, units } of claim.devices) {
    if ((view.devices[uuid] ?? 0) > (claim.before.devices[uuid] ?? 0) - units) return false;
  }
  for (const name in claim.units) {
    const before = claim.before.free[name];
    if (before !== undefined && (view.free[name] ?? 0) > before - claim.units[name]!) return false;
  }
  return true;
}

const NO_VIEW: NodeView = { version: 0, free: {}, devices: {} };

export function rowOf(
  record: NodeRecord,
  state: NodeRow["state"],
  view: NodeView | undefined,
  seen: DeviceReport | undefined,
): NodeRow {
  const { nodeId, name, hostname, ip, inc, epoch, pid, total, devices, labels } = record;
  const row: NodeRow = {
    nodeId,
    name,
    hostname,
    ip,
    inc,
    epoch,
    state,
    pid,
    total,
    devices,
    labels,
    view: view ?? NO_VIEW,
  };
  if (record.links) row.links = { kinds: [...record.links.kinds], pairs: record.links.pairs };
  if (seen) row.seen = seen;
  if (record.url !== undefined) row.url = record.url;
  if (record.socket !== undefined) row.socket = record.socket;
  if (record.pidNamespace !== undefined) row.pidNamespace = record.pidNamespace;
  if (record.deathReason !== undefined) row.deathReason = record.deathReason;
  return row;
}
