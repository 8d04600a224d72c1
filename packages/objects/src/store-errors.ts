import { ObjectFreedError, ObjectLostError, ObjectStoreFullError, OutOfDiskError, WhiprayError } from "@whipray/core";
import type { StoreLimits } from "./store-limits.ts";

/** Who keeps memory from being used again. */
export interface PinHolder {
  readonly holder: string;
  readonly objects: number;
  readonly bytes: number;
}

const NAMED_HOLDERS = 5;

/** Everything is pinned, or being written: nothing can be spilled. Names who holds it. */
export function storeFull(asked: number, limits: StoreLimits, holders: readonly PinHolder[]): ObjectStoreFullError {
  const most = [...holders].sort((a, b) => b.bytes - a.bytes).slice(0, NAMED_HOLDERS);
  const names = most.map(({ holder, objects, bytes }) => `${holder} holds ${bytes} bytes in ${objects} objects`);
  const why = names.length > 0 ? `views pin the rest: ${names.join("; ")}` : "nothing in it can be spilled";
  return new ObjectStoreFullError({
    message: `No room for ${asked} bytes in an object store of ${limits.capacityBytes}; ${why}. Drop or release() views, or give the node a larger store`,
    retryable: true,
    details: { asked, capacityBytes: limits.capacityBytes, holders: most },
  });
}

/** The object could never fit. */
export function tooLarge(asked: number, { capacityBytes }: StoreLimits): ObjectStoreFullError {
  return new ObjectStoreFullError({
    message: `An object of ${asked} bytes cannot fit in an object store of ${capacityBytes} bytes; give the node a larger store`,
    details: { asked, capacityBytes },
  });
}

/** Something could be spilled, but there is no room for it on disk. */
export function outOfDisk(asked: number, usedBytes: number, limits: StoreLimits, reason: string): OutOfDiskError {
  return new OutOfDiskError({
    message: `No room for ${asked} bytes in the object store, and none to spill: ${reason} (${usedBytes} of ${limits.diskBytes} bytes of the spill quota used)`,
    retryable: true,
    details: { asked, usedBytes, diskBytes: limits.diskBytes, reason },
  });
}

export function objectFreed(object: string): ObjectFreedError {
  return new ObjectFreedError({
    message: `Object ${object} is not there (any more): its ref was disposed, its owner ended, or its raylet was restarted`,
    details: { object },
  });
}

export function objectLost(object: string, why: string, cause?: unknown): ObjectLostError {
  return new ObjectLostError({ message: `Object ${object} is lost: ${why}`, details: { object }, cause });
}

export function objectExists(object: string): WhiprayError {
  return new WhiprayError({ code: "OBJECT_EXISTS", message: `Object ${object} exists already; ids are used once` });
}

export function notWriting(object: string, creator: string): WhiprayError {
  const message = `Object ${object} is not being written by ${creator}`;
  return new WhiprayError({ code: "INVALID_STATE", message, details: { object, creator } });
}

export function otherSize(object: string, bytes: number, asked: number): WhiprayError {
  const message = `Object ${object} cannot have ${bytes} bytes: room was made for ${asked}`;
  return new WhiprayError({ code: "INVALID_STATE", message, details: { object, bytes, asked } });
}
