import {
  cpusOf,
  type DeviceTopology,
  type LinkRule,
  numaNodesOf,
  showDevices,
  showLinks,
  type Units,
  WhiprayError,
} from "@whipray/core";
import {
  CPU_LIST_LIMIT_CHARS,
  type DeviceGrant,
  type GroupCreate,
  type GroupRow,
  type GroupState,
  type PlacedBundle,
  type Strategy,
  type WaitReason,
} from "@whipray/rpc";
import { checkName, checkUnits, invalid } from "./names.ts";
import type { BundleRequest, PlaceRequest } from "./placement/request.ts";

/** Where a bundle is. `epoch` is the attempt that put it there. */
export interface BundlePlace {
  nodeId: string;
  nodeEpoch: number;
  epoch: number;
  devices: DeviceGrant[];
  committed: boolean;
}

/** What the journal keeps of a group. */
export interface GroupRecord {
  readonly pgId: string;
  readonly jobId: string;
  readonly name?: string | undefined;
  readonly namespace: string;
  readonly bundles: readonly Record<string, Units>[];
  readonly strategy: Strategy;
  readonly detached: boolean;
  readonly creatorActor?: string | undefined;
  readonly labels?: readonly Record<string, string>[] | undefined;
  /** One a bundle, or none: `ANY`. */
  readonly links?: readonly LinkRule[] | undefined;
  readonly createdAtMs: number;
  /** Wall time of its deadline, if it has one. */
  readonly deadlineWallMs?: number | undefined;
  state: GroupState;
  /** Number of its latest attempt; raylets refuse an older one. */
  epoch: number;
  attempts: number;
  places: (BundlePlace | null)[];
}

type GroupEvent = "prepared" | "committed" | "lost" | "removed";

/** The life of a group (ray.md 2.1 and 2.5): state → event → next state. What is not here cannot happen. */
const NEXT: Readonly<Record<GroupState, Partial<Record<GroupEvent, GroupState>>>> = {
  PENDING: { prepared: "PREPARED", removed: "REMOVED" },
  PREPARED: { committed: "CREATED", lost: "RESCHEDULING", removed: "REMOVED" },
  CREATED: { lost: "RESCHEDULING", removed: "REMOVED" },
  RESCHEDULING: { prepared: "PREPARED", lost: "RESCHEDULING", removed: "REMOVED" },
  REMOVED: {},
};

export function advance(record: GroupRecord, event: GroupEvent): void {
  const next = NEXT[record.state][event];
  if (!next)
    throw new WhiprayError({ code: "INTERNAL", message: `group ${record.pgId}: ${event} while ${record.state}` });
  record.state = next;
}

/** Checks a request and makes the record. @throws WhiprayError `INVALID_RESOURCES`, `INVALID_NAME`, `INVALID_ARGUMENT`. */
export function newGroup(request: GroupCreate, wallMs: number): GroupRecord {
  const { pgId, jobId, name, namespace, strategy, detached, creatorActor, labels, links, timeoutMs } = request;
  checkName("namespace", namespace);
  if (name !== undefined) checkName("placement group name", name);
  if (request.bundles.length === 0) throw badBundles("a placement group needs at least one bundle");
  const bundles = request.bundles.map((units, index) => checkUnits(units, `bundle ${index}`));
  const empty = bundles.findIndex((units) => Object.keys(units).length === 0);
  if (empty >= 0) throw badBundles(`bundle ${empty} asks for nothing; give it at least one resource above 0`);
  if (labels && labels.length !== bundles.length) {
    throw invalid(`${labels.length} label selectors for ${bundles.length} bundles; give one a bundle, or none`);
  }
  if (links && links.length !== bundles.length) {
    throw invalid(`${links.length} link rules for ${bundles.length} bundles; give one a bundle, or none`);
  }
  const places = bundles.map(() => null);
  const fixed = { pgId, jobId, namespace, bundles, strategy, detached, createdAtMs: Math.floor(wallMs) };
  const deadlineWallMs = timeoutMs === undefined ? undefined : wallMs + timeoutMs;
  return {
    ...fixed,
    name,
    creatorActor,
    labels,
    links,
    deadlineWallMs,
    state: "PENDING",
    epoch: 0,
    attempts: 0,
    places,
  };
}

function badBundles(message: string): WhiprayError {
  return new WhiprayError({ code: "INVALID_RESOURCES", message });
}

/** The bundles without a place, as placement wants to see them. */
export function missingOf(record: GroupRecord): PlaceRequest {
  const bundles: BundleRequest[] = [];
  const kept = new Set<string>();
  record.bundles.forEach((units, index) => {
    const place = record.places[index];
    if (place) kept.add(place.nodeId);
    else bundles.push({ index, units, labels: record.labels?.[index], links: record.links?.[index] });
  });
  return { strategy: record.strategy, bundles, keptNodeIds: [...kept] };
}

/** Bundles on a node that have devices, all of which are among these. */
export function bundlesOn(record: GroupRecord, nodeId: string, devices: ReadonlySet<string>): number[] {
  return record.places.flatMap((place, index) => {
    if (place?.nodeId !== nodeId || place.devices.length === 0) return [];
    return place.devices.every(({ uuid }) => devices.has(uuid)) ? [index] : [];
  });
}

export function nodesOf(record: GroupRecord): string[] {
  return [...new Set(record.places.flatMap((place) => (place ? [place.nodeId] : [])))];
}

export function groupRow(
  record: GroupRecord,
  reasons: WaitReason[],
  topologyOf: (nodeId: string) => DeviceTopology | undefined,
): GroupRow {
  const { pgId, jobId, name, namespace, strategy, state, detached, attempts, createdAtMs } = record;
  const bundles = record.bundles.map((units, index) => {
    const place = record.places[index];
    if (!place) return { index, units, devices: [] };
    const { nodeId, devices } = place;
    return { index, units, nodeId, devices, ...choiceOf(devices, topologyOf(nodeId)) };
  });
  const row: GroupRow = { pgId, jobId, namespace, strategy, state, detached, bundles, reasons, attempts, createdAtMs };
  if (name !== undefined) row.name = name;
  return row;
}

/** Where the chosen devices are and how they reach each other; nothing for none, or of a node that is gone. */
function choiceOf(
  devices: readonly DeviceGrant[],
  topology: DeviceTopology | undefined,
): Pick<PlacedBundle, "numaNodes" | "cpuAffinity" | "links" | "choice"> {
  if (!topology || devices.length === 0) return {};
  const uuids = devices.map((device) => device.uuid);
  const links = showLinks(uuids, topology);
  const cpus = cpusOf(uuids, topology);
  return {
    numaNodes: numaNodesOf(uuids, topology).slice(0, 64),
    ...(cpus !== undefined && cpus.length <= CPU_LIST_LIMIT_CHARS && { cpuAffinity: cpus }),
    ...(links !== undefined && { links: links.slice(0, 128) }),
    choice: showDevices(devices, topology).slice(0, 512),
  };
}
