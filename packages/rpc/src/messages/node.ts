import { anything, bool, count, type Infer, id, list, method, oneOf, optional, record, shape, str } from "../fields.ts";
import {
  DEVICES_PER_NODE_LIMIT,
  deviceStateField,
  devicesField,
  labelsField,
  linkMatrixField,
  nodeViewField,
  unitsField,
} from "./resources.ts";

/** What a raylet still runs when it registers (again): the head adopts it or says that it must go. */
const runningActorField = shape({
  actorId: id("actor"),
  epoch: count(),
  address: str(256),
  inc: id("inc"),
  pid: count(),
});
const runningBundleField = shape({ pgId: id("pg"), index: count(100_000), epoch: count(), committed: bool });
export type RunningBundle = Infer<typeof runningBundleField>;
export type RunningActor = Infer<typeof runningActorField>;

const peersField = list(shape({ nodeId: id("node"), url: optional(str(512)) }));

/** raylet → head, first call on its control link; again after every reconnect. */
export const nodeRegister = method(
  "node.register",
  shape({
    nodeId: id("node"),
    inc: id("inc"),
    /** Epoch of the last registration; 0 the first time. */
    epoch: count(),
    name: str(128),
    hostname: str(256),
    /** Address that other machines reach this one at (the MASTER_ADDR of its ranks). */
    ip: str(64),
    /** URL that peers dial (`ws://127.0.0.2:8266`), absent when it listens on unix sockets only. */
    url: optional(str(512)),
    /** Its unix socket, for processes of the same machine. */
    socket: optional(str(512)),
    pid: count(),
    /** Where `pid` means something (PROTOCOL.md, "Processes and their pids"). */
    pidNamespace: optional(str(128)),
    version: str(64),
    total: unitsField,
    devices: devicesField,
    links: optional(linkMatrixField),
    labels: labelsField,
    view: nodeViewField,
    actors: list(runningActorField),
    bundles: list(runningBundleField),
  }),
  shape({
    epoch: count(),
    cluster: id("cluster"),
    beatMs: count(),
    /** Actors and bundles that the head does not know (any more): the raylet ends them. */
    dropActors: list(id("actor")),
    dropBundles: list(shape({ pgId: id("pg"), index: count(100_000) })),
    /** SHA-256 (hex) of the tokens that this raylet accepts from its peers, by role. */
    peerTokens: record(str(64), 8),
    /** Nodes to ask when the head is silent. */
    peers: peersField,
  }),
);
export type NodeRegister = Infer<(typeof nodeRegister)["request"]>;
export type NodeRegistered = Infer<(typeof nodeRegister)["reply"]>;

/**
 * raylet → head every second, on the beat link. The reply renews the node's lease, and brings the nodes to ask when the head
 * is silent unless the raylet has them in that `version`.
 */
export const nodeBeat = method(
  "node.beat",
  shape({
    nodeId: id("node"),
    epoch: count(),
    n: count(),
    /** How long ago the last beat was sent that came back answered: a node that hears no replies is no healthy one. */
    renewedAgoMs: optional(count()),
    peersVersion: optional(count()),
  }),
  shape({ n: count(), peers: optional(shape({ version: count(), nodes: peersField })) }),
);

/** raylet → head after each change of its ledger (coalesced to one a turn). */
export const nodeViewChanged = method(
  "node.view",
  shape({ nodeId: id("node"), epoch: count(), view: nodeViewField }),
  anything,
);

/** What the last look at the devices of a node found. */
const deviceReportField = shape({
  states: list(deviceStateField, DEVICES_PER_NODE_LIMIT),
  /** Age of the look when it was told. */
  agoMs: count(),
  /** Why the last look failed: these are the values of the one before (reliability F35). */
  stale: optional(str(1_024)),
});
export type DeviceReport = Infer<typeof deviceReportField>;

/** raylet → head after each look at its devices; for `status` and for the health that placement sees. */
export const nodeDevicesSeen = method(
  "node.devices",
  shape({ nodeId: id("node"), epoch: count(), report: deviceReportField }),
  anything,
);

/** raylet → raylet: are your beats still renewed? (design.md, mechanism 5). */
export const nodeRenewals = method(
  "node.renewals",
  shape({}),
  shape({
    renewedAgoMs: count(),
    /** How long renewals have come without a gap: a peer that only just came back proves a restarted head, no isolation. */
    steadyMs: optional(count()),
  }),
);

/** raylet → head: the node leaves on purpose. */
export const nodeLeave = method(
  "node.leave",
  shape({ nodeId: id("node"), epoch: count(), reason: str(256) }),
  anything,
);

const nodeRowField = shape({
  nodeId: id("node"),
  name: str(128),
  hostname: str(256),
  ip: str(64),
  url: optional(str(512)),
  /** Its unix socket; of use where `pidNamespace` is one's own. */
  socket: optional(str(512)),
  pidNamespace: optional(str(128)),
  inc: id("inc"),
  epoch: count(),
  state: oneOf("ALIVE", "SUSPECT", "DEAD"),
  pid: count(),
  deathReason: optional(str(1_024)),
  /** Why it is SUSPECT. */
  suspectReason: optional(str(1_024)),
  total: unitsField,
  devices: devicesField,
  links: optional(linkMatrixField),
  /** The last look at the devices that the head was told of. */
  seen: optional(deviceReportField),
  labels: labelsField,
  view: nodeViewField,
});
/** One node as `nodes()` and `status` show it. */
export type NodeRow = Infer<typeof nodeRowField>;

/** What placement may use on a node now: what starving groups hold and what the head has promised is not in it. */
const nodeRoomField = shape({
  nodeId: id("node"),
  url: optional(str(512)),
  socket: optional(str(512)),
  pidNamespace: optional(str(128)),
  labels: labelsField,
  total: unitsField,
  free: unitsField,
  /** Free units of each device that is offered. */
  devices: list(shape({ resource: str(64), units: count(10_000) }), DEVICES_PER_NODE_LIMIT),
});
export type NodeRoomRow = Infer<typeof nodeRoomField>;
/**
 * raylet → head: the nodes that are alive, to pass tasks on to. `nodes` is all of them; without it the asker knows those of `version`: since then
 * `changed` did, or came, and `gone` left.
 */
export const nodeRooms = method(
  "node.rooms",
  shape({ version: optional(count()) }),
  shape({
    version: count(),
    nodes: optional(list(nodeRoomField)),
    changed: optional(list(nodeRoomField)),
    gone: optional(list(id("node"))),
  }),
);

/** head → raylet: what is kept there for placement groups that have waited too long; tasks pass only beside it. */
export const nodeHold = method("node.hold", shape({ nodeEpoch: count(), units: unitsField }), anything);

/** anybody → head. */
export const nodesList = method("nodes.list", shape({}), shape({ nodes: list(nodeRowField) }));
