import { asWhiprayError } from "@whipray/core";
import {
  decodeValues,
  encodeStored,
  type IncomingCall,
  type Parts,
  type Revive,
  StoredWire,
  storedOf,
} from "@whipray/rpc";
import type { ObjectClient, ObjectClientOptions } from "./object-client.ts";

/** Values up to this size travel in messages, larger ones lie in the node's store (Ray: 100 KiB). */
export const INLINE_OBJECT_BYTES = 102_400;

export function isLarge(parts: Parts): boolean {
  let bytes = 0;
  for (const part of parts) bytes += part.byteLength;
  return bytes > INLINE_OBJECT_BYTES;
}

/** What `openObjectClient` loads. Simulations do it ahead: loading takes time that no simulated clock sees. */
export function loadObjectClient() {
  return Promise.all([import("./object-client.ts"), import("@whipray/objects"), import("./garbage.io.ts")]);
}

/** The store is loaded with the first large value: most programs start without one. `mapper` and `garbage`: default this machine's own. */
export async function openObjectClient(
  options: Omit<ObjectClientOptions, "mapper" | "garbage"> & Partial<ObjectClientOptions>,
): Promise<ObjectClient> {
  const [{ ObjectClient }, { procMapper }, { systemGarbage }] = await loadObjectClient();
  return new ObjectClient({ mapper: procMapper, garbage: systemGarbage(), ...options });
}

/** What values of a worker's calls have to do with the node's store. */
export interface ObjectAccess {
  client(): Promise<ObjectClient>;
}

/** Parts, wherever they lie. */
export async function openParts(parts: Parts, access: ObjectAccess): Promise<Parts> {
  const stored = storedOf(parts);
  return stored ? (await access.client()).open(stored) : parts;
}

/** Whether an argument stands for a value that lies in a store. */
export function isStored(value: unknown): value is StoredWire {
  return value instanceof StoredWire;
}

/** The arguments of a call with those that lie elsewhere in their places. */
export async function openArguments(args: unknown[], access: ObjectAccess, revive?: Revive): Promise<unknown[]> {
  const client = await access.client();
  const open = async (arg: unknown): Promise<unknown> => {
    return isStored(arg) ? decodeValues(await client.open(arg), revive) : arg;
  };
  return Promise.all(args.map(open));
}

/**
 * A result as it goes to its caller, who owns it: large ones lie in the store. When that has no room the result travels in the
 * message (reliability F39).
 */
export async function outgoingParts(
  parts: Parts,
  call: Pick<IncomingCall, "peer">,
  access: ObjectAccess,
): Promise<Parts> {
  const { address, incarnation } = call.peer;
  try {
    const client = await access.client();
    return encodeStored(await client.put(parts, { owner: `${address} ${incarnation}`, patient: false }));
  } catch (error) {
    const { code } = asWhiprayError(error);
    if (NO_ROOM.has(code)) return parts;
    throw error;
  }
}

/** Codes of a store that takes nothing now, or is none: values travel in messages then. */
export const NO_ROOM: ReadonlySet<string> = new Set([
  "OBJECT_STORE_FULL",
  "OUT_OF_DISK",
  "SEGMENT_FAILED",
  "METHOD_NOT_FOUND",
  "NODE_LEAVING",
]);
