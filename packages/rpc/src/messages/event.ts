import { anything, count, type Infer, id, list, method, oneOf, optional, record, shape, str } from "../fields.ts";

/** What an event can tell, in Ray's words for the states of nodes, placement groups, actors and jobs. */
export const EVENT_TYPES = [
  /** The head knows nothing that was before: its events are not journalled. */
  "HEAD_STARTED",
  "NODE_ALIVE",
  "NODE_SUSPECT",
  /** On purpose. */
  "NODE_LEFT",
  "NODE_DEAD",
  /** A device is quarantined, unhealthy, busy or locked: it is not offered. */
  "DEVICE_WITHHELD",
  "DEVICE_OFFERED",
  "PLACEMENT_GROUP_PENDING",
  /** It found no place for a while: why, bundle by bundle. */
  "PLACEMENT_GROUP_WAITING",
  "PLACEMENT_GROUP_CREATED",
  "PLACEMENT_GROUP_RESCHEDULING",
  "PLACEMENT_GROUP_REMOVED",
  "ACTOR_PENDING_CREATION",
  "ACTOR_ALIVE",
  "ACTOR_RESTARTING",
  "ACTOR_DEAD",
  /** A driver's session. */
  "JOB_STARTED",
  "JOB_FINISHED",
] as const;
export type EventType = (typeof EVENT_TYPES)[number];

/** Ray's words, from the least. */
export const EVENT_SEVERITIES = ["INFO", "WARNING", "ERROR"] as const;
export type EventSeverity = (typeof EVENT_SEVERITIES)[number];

/** Events of one answer of `events.list`; as many as Ray's state API has rows at most. */
export const EVENTS_LIST_LIMIT = 10_000;
/** Events in one item of `events.follow`. */
export const EVENTS_PER_ITEM = 16;
/** Characters of an event's message; of one of its details; and details. What is longer is cut. */
export const EVENT_MESSAGE_LIMIT_CHARS = 2_048;
export const EVENT_DETAIL_LIMIT_CHARS = 1_024;
export const EVENT_DETAILS_LIMIT = 16;

const severityField = oneOf(...EVENT_SEVERITIES);

const eventField = shape({
  /** Grows by one with each event of a head, and from one start of the head to the next. */
  seq: count(),
  /** Wall time of the head. */
  timeMs: count(),
  /** One of `EVENT_TYPES`; of a newer head perhaps another. */
  type: str(64),
  severity: severityField,
  /** What it is about. */
  ids: shape({
    nodeId: optional(id("node")),
    pgId: optional(id("pg")),
    actorId: optional(id("actor")),
    jobId: optional(id("job")),
    /** Uuid of a device. */
    device: optional(str(256)),
  }),
  /** For people. */
  message: str(EVENT_MESSAGE_LIMIT_CHARS),
  /** For programs: `cause`, `exitCode`, `signal`, `reason`, … */
  details: record(str(EVENT_DETAIL_LIMIT_CHARS), EVENT_DETAILS_LIMIT),
});
/** Something that happened in the cluster, as the head saw it. */
export type ClusterEvent = Infer<typeof eventField>;

const filter = {
  /** Only of these types; all without. */
  types: optional(list(str(64), 64)),
  /** Only of this severity and above. */
  severity: optional(severityField),
  /** Only with this among its ids. */
  id: optional(str(256)),
};

/**
 * anybody → head: the latest `limit` events that match, the oldest first. Fails with `INVALID_ARGUMENT` for a type that is none and a
 * `since` that has not happened yet.
 */
export const eventsList = method(
  "events.list",
  shape({ ...filter, since: optional(count()), limit: count(EVENTS_LIST_LIMIT) }),
  shape({
    events: list(eventField, EVENTS_LIST_LIMIT),
    /** Events that match, shown or not. */
    total: count(),
    /** Seq of the newest event, of whatever type: to go on from. */
    newest: count(),
    /** Events after `since`, of whatever type, that the head does not have any more. */
    lost: count(),
  }),
);
export type EventsListed = Infer<(typeof eventsList)["reply"]>;

/** anybody → head, a stream of `eventItem`: what happens after `since`, or from now on. Ends when it is cancelled. */
export const eventsFollow = method("events.follow", shape({ ...filter, since: optional(count()) }), anything);
export type EventsFollow = Infer<(typeof eventsFollow)["request"]>;

export const eventItem = shape({
  events: list(eventField, EVENTS_PER_ITEM),
  /** So many events, of whatever type, are missing before these: they were taken too slowly. */
  lost: optional(count()),
});
