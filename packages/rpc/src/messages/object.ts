import { anything, bool, count, type Infer, id, list, method, oneOf, optional, shape, str } from "../fields.ts";

/** Objects that one message may name. */
export const OBJECTS_A_MESSAGE_LIMIT = 4_096;

const objectId = id("obj");
const objectIds = list(objectId, OBJECTS_A_MESSAGE_LIMIT);
/** `address incarnation` of a process. */
const processField = str(320);
/** A sealed memfd: descriptor `fd` of process `pid`, with this name and size. Maps on the same machine, for the same user. */
const segmentField = shape({ pid: count(), fd: count(), name: str(256), bytes: count() });
export type SegmentWire = Infer<typeof segmentField>;

/** Any process → raylet: room for a new object of `bytes`; the asker writes it, then seals it. Waits while others are spilled. */
export const objectCreate = method(
  "object.create",
  shape({
    id: objectId,
    bytes: count(),
    /** Whose end frees it; the asker's when absent. */
    owner: optional(processField),
    /** For whatever the asker writes next; refused unless there is plenty of room. `bytes` and owner may be others at the seal. */
    spare: optional(bool),
    /** False: the asker can do without, and waits for spills alone, not for others to let go. */
    patient: optional(bool),
  }),
  shape({ segment: segmentField }),
);
/** The creator → raylet: bytes of the object (part 1), for who cannot map the segment. */
export const objectWrite = method("object.write", shape({ id: objectId, offset: count() }), anything);
/** The creator → raylet: the object is complete. `bytes` may be less than asked for, within the same segment. */
export const objectSeal = method(
  "object.seal",
  shape({ id: objectId, bytes: optional(count()), owner: optional(processField) }),
  anything,
);
/**
 * Any process → raylet: keep the object in memory for the asker until he releases it, as often as he asked. Waits for its seal, for its
 * way back from disk, and, when it lies `from` another raylet, until it was copied here.
 */
export const objectHold = method(
  "object.hold",
  shape({
    id: objectId,
    from: optional(str(256)),
    /** Of the object, for a copy. */
    owner: optional(processField),
  }),
  shape({ segment: segmentField, bytes: count() }),
);
/** Who holds it → raylet: `length` bytes from `offset` on (part 1 of the reply). */
export const objectRead = method(
  "object.read",
  shape({ id: objectId, offset: count(), length: count(16_777_216) }),
  anything,
);
/** Who holds them → raylet, oneway: one hold of each less. */
export const objectRelease = method("object.release", shape({ ids: objectIds }), anything);
/** Owner → raylet, oneway: not needed any more, also the copies on other nodes. */
export const objectFree = method("object.free", shape({ ids: objectIds }), anything);
/**
 * raylet → who holds them: their owner freed these objects; unmap what nobody reaches any more. Without ids: room is needed, unmap all that
 * nobody reaches. The answer is `object.release`.
 */
export const objectLetGo = method("object.letGo", shape({ ids: objectIds }), anything);

/** Anybody → raylet: what lies there. */
export const objectList = method(
  "object.list",
  shape({ limit: count(100_000) }),
  shape({
    objects: list(
      shape({
        id: objectId,
        owner: processField,
        bytes: count(),
        state: oneOf("waiting", "writing", "sealed", "spilling", "spilled", "restoring"),
        copy: bool,
        holders: list(processField),
        /** Its owner needs it no more; those who hold it still read it. */
        freed: optional(bool),
      }),
      100_000,
    ),
    capacityBytes: count(),
    usedBytes: count(),
    pooledBytes: count(),
    spilledBytes: count(),
    pinnedBytes: count(),
  }),
);
export type ObjectList = Infer<(typeof objectList)["reply"]>;
