/**
 * waiting (for room) → writing → sealed; sealed ⇄ spilling → spilled → restoring → sealed. Freed objects leave from any state as
 * soon as nobody reads or writes them.
 */
export type ObjectState = "waiting" | "writing" | "sealed" | "spilling" | "spilled" | "restoring";

/** A reader that came before the object was there. */
export interface Waiter {
  readonly ticket: number;
  readonly holder: string;
}

/** One object of the table. */
export interface StoredObject {
  readonly id: string;
  /** Whose end frees it: `address incarnation`. */
  owner: string;
  /** Who writes it. */
  readonly creator: string;
  bytes: number;
  /** Another node has it too: it is dropped where others are spilled. */
  readonly copy: boolean;
  state: ObjectState;
  segment: number | undefined;
  /** By holder: how many attachments. */
  readonly pins: Map<string, number>;
  readonly waiters: Waiter[];
  /** Nobody may attach any more. */
  freed: boolean;
  /** Somebody may still have the segment mapped who did not say that he has unmapped it: it is never used again. */
  tainted: boolean;
}

export interface CreateRequest {
  readonly ticket: number;
  readonly object: string;
  readonly owner: string;
  readonly creator: string;
  readonly bytes: number;
  readonly copy?: boolean;
  /** For whatever its creator writes next: only where there is plenty of room, and `bytes` may turn out less. */
  readonly spare?: boolean;
  /** False: waits for what is being spilled, but not for pins to go: who asks can do without. Default true. */
  readonly patient?: boolean;
}

export function newObject({ object: id, owner, creator, bytes, copy = false }: CreateRequest): StoredObject {
  return {
    ...{ id, owner, creator, bytes, copy, state: "waiting", segment: undefined },
    ...{ pins: new Map(), waiters: [], freed: false, tainted: false },
  };
}

/** What a writer knows at the end only. */
export interface SealedAs {
  /** As asked for, or less within the same segment size. */
  readonly bytes?: number | undefined;
  readonly owner?: string | undefined;
}

/** A create, or the return of a spilled object, that waits for room. */
export interface RoomRequest {
  readonly object: StoredObject;
  /** Of a create; a restore has none. */
  readonly ticket: number | undefined;
  /** When it is refused if everything is pinned then. */
  readonly patientUntil: number;
  /** Readers were asked to let go of what they do not need. */
  pressed?: boolean;
}

/** What the table wants done. The shell does it in order, and tells how it went where a line below says so. */
export type StoreAction =
  /** Answer a create. `fresh`: make the segment first, and say `makeFailed` if that does not work. */
  | { do: "grant"; ticket: number; object: string; segment: number; fresh: boolean; segmentBytes: number }
  | { do: "attached"; ticket: number; segment: number; bytes: number }
  | { do: "refuse"; ticket: number; error: Error }
  /** Write the segment to a file → `spilled` or `spillFailed`. */
  | { do: "spill"; object: string; segment: number; bytes: number }
  /** Read the file into the segment → `restored` or `restoreFailed`; or `makeFailed`. */
  | { do: "restore"; object: string; segment: number; fresh: boolean; segmentBytes: number; bytes: number }
  /** Remove the file. */
  | { do: "erase"; object: string }
  | { do: "discard"; segment: number; mapped: boolean }
  /** Ask a holder to unmap what he does not reach any more: of these objects, or (none named) of all. */
  | { do: "letGo"; holder: string; objects: readonly string[] }
  /** Say who still has an object mapped that was freed long ago. */
  | { do: "name"; object: string; bytes: number; holders: readonly string[] };

export interface StoreStats {
  readonly objects: number;
  /** Segments that hold objects. */
  readonly usedBytes: number;
  /** Segments kept warm. */
  readonly pooledBytes: number;
  readonly spilledBytes: number;
  readonly pinnedBytes: number;
  /** Requests that wait for room. */
  readonly waiting: number;
}
