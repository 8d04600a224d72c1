import { asWhiprayError } from "@whipray/core";
import { decodeHostValue, encodeHostRequest } from "@whipray/engine";
import { ObjectRefWire, type Parts, Tensor, type TypedArray } from "@whipray/rpc";
import { RTensorError } from "./errors.ts";
import { tensorMeta } from "./r-tensor.ts";
import { mapObjects } from "./tensor-tree.ts";

/** Tensors that one request asks for (AReaL: shards of one /data/batch). */
export const TENSORS_A_FETCH = 32;

/** A call whose arguments hold remote tensors, as it goes to the worker that is to fetch them. */
export interface FetchingCall {
  /** The engine host's own request. */
  readonly request: { readonly args?: unknown; readonly kwargs?: unknown };
  /** Who has the tensors, by the engines' addresses. */
  readonly owners: Readonly<Record<string, { readonly workerId: string; readonly serverName: string }>>;
}

/** Asks an owner's RPC server; gives the reply's parts. */
export type AskOwner = (engine: string, serverName: string, method: string, parts: Parts) => Promise<Parts>;

/** Fetches by owner: all at the same time, of each at most 32 a request, one request after another. Ids keep their order. */
export async function fetchByOwner<Owner>(
  wanted: ReadonlyMap<Owner, ReadonlySet<string>>,
  fetch: (owner: Owner, ids: string[]) => Promise<unknown[]>,
): Promise<Map<Owner, Map<string, unknown>>> {
  const found = await Promise.all(
    [...wanted].map(async ([owner, all]): Promise<[Owner, Map<string, unknown>]> => {
      const ids = [...all];
      const tensors = new Map<string, unknown>();
      for (let at = 0; at < ids.length; at += TENSORS_A_FETCH) {
        const some = ids.slice(at, at + TENSORS_A_FETCH);
        const values = await fetch(owner, some);
        for (const [index, id] of some.entries()) tensors.set(id, values[index]);
      }
      return [owner, tensors];
    }),
  );
  return new Map(found);
}

/**
 * The parts of a call with its remote tensors in it, fetched from their owners and never decoded beyond dtype and shape. Those of
 * `self`, the engine that is called, stay references: it uses them in place.
 */
export async function fetchArguments(parts: Parts, self: string | undefined, ask: AskOwner): Promise<Parts> {
  const { request, owners } = decodeHostValue(parts) as FetchingCall;
  const { args, kwargs } = request;
  const refs: ObjectRefWire[] = [];
  mapObjects([args, kwargs], (object) => {
    if (isTensorRef(object)) refs.push(object);
    return object;
  });
  const local = refs.some((ref) => ref.ownerAddress === self);
  const wanted = new Map<string, Set<string>>();
  for (const { id, ownerAddress } of refs)
    if (ownerAddress !== self) wanted.set(ownerAddress, (wanted.get(ownerAddress) ?? new Set()).add(id));
  const found = await fetchByOwner(wanted, async (engine, ids) => {
    const owner = owners[engine];
    if (!owner) throw new RTensorError(engine, ids, "nobody said where this engine is reached");
    try {
      const reply = await ask(engine, owner.serverName, "fetchTensors", encodeHostRequest({ ids }));
      const values = decodeHostValue(reply) as (Tensor | TypedArray)[];
      return values.map((value, index) => asTensor(ids[index]!, value));
    } catch (error) {
      // Not as the end of the worker that was called: it is its owner's.
      const cause = asWhiprayError(error);
      throw new RTensorError(owner.workerId, ids, cause.message, { cause, details: cause.details });
    }
  });
  const fetched = mapObjects({ args, kwargs }, (object) =>
    isTensorRef(object) ? (found.get(object.ownerAddress)?.get(object.id) ?? object) : object,
  ) as object;
  return encodeHostRequest({ ...request, ...fetched, ...(local && { local: true }) });
}

function isTensorRef(object: object): object is ObjectRefWire {
  return object instanceof ObjectRefWire && tensorMeta(object.id) !== undefined;
}

/** With its own dtype, where JavaScript's array of the same memory has another. */
function asTensor(id: string, value: Tensor | TypedArray): Tensor {
  const { dtype, shape } = tensorMeta(id)!;
  const bytes =
    value instanceof Tensor ? value.bytes : new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  return new Tensor(dtype, shape, bytes);
}
