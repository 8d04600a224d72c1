import { asWhiprayError } from "@whipray/core";
import { decodeHostValue, encodeHostRequest } from "@whipray/engine";
import type { Revive } from "@whipray/rpc";
import { RTensorError } from "./errors.ts";
import { deathOf } from "./failures.ts";
import { type ClearedTensors, type FetchOptions, RTensor, type TensorOwner, tensorMeta } from "./r-tensor.ts";
import type { Member } from "./role.ts";
import { fetchByOwner } from "./tensor-fetch.ts";
import { mapObjects } from "./tensor-tree.ts";

/** AReaL: the longest wait for shards. */
export const FETCH_TIMEOUT_MS = 3_600_000;
const CLEAR_TIMEOUT_MS = 30_000;
const NOTHING: ClearedTensors = { cleared: 0, bytes: 0 };

/** A member as the owner of the tensors that stay on its engine. */
export function tensorOwner(member: Member): TensorOwner {
  member.tensors ??= {
    workerId: member.id,
    serverName: member.serverName,
    fetch: (ids, options) => fetchFrom(member, ids, options),
    clear: (ids) => clearOn(member, ids),
  };
  return member.tensors;
}

/** Makes remote tensors of the references in what a member's engine returned. */
export function reviveTensors(member: Member): Revive {
  return {
    objectRef: (wire) => (tensorMeta(wire.id) ? new RTensor(tensorOwner(member), wire) : wire),
  };
}

/**
 * The value with the tensors themselves in place of remote ones, in their order (AReaL: localize). Owners are asked at the same time,
 * each for at most 32 tensors a request. @throws RTensorError naming what is missing.
 */
export async function localize(value: unknown, options?: FetchOptions): Promise<unknown> {
  const found = await fetchByOwner(byOwner(value), (owner, ids) => owner.fetch(ids, options));
  return mapObjects(value, (object) => (object instanceof RTensor ? found.get(object.owner)?.get(object.id) : object));
}

/** Frees remote tensors: those in a value, or without one all of these members. */
export async function clearTensors(members: readonly Member[], value?: unknown): Promise<ClearedTensors> {
  const cleared =
    value === undefined
      ? members.filter((member) => member.tensors).map((member) => clearOn(member))
      : [...byOwner(value)].map(([owner, ids]) => owner.clear([...ids]));
  const all = await Promise.all(cleared);
  return all.reduce((sum, one) => ({ cleared: sum.cleared + one.cleared, bytes: sum.bytes + one.bytes }), NOTHING);
}

function byOwner(value: unknown): Map<TensorOwner, Set<string>> {
  const wanted = new Map<TensorOwner, Set<string>>();
  mapObjects(value, (object) => {
    if (object instanceof RTensor) wanted.set(object.owner, (wanted.get(object.owner) ?? new Set()).add(object.id));
    return object;
  });
  return wanted;
}

async function fetchFrom(member: Member, ids: readonly string[], options: FetchOptions = {}): Promise<unknown[]> {
  const { timeoutMs = FETCH_TIMEOUT_MS, signal } = options;
  try {
    const reply = await member.server.call("fetchTensors", encodeHostRequest({ ids }), { timeoutMs, signal });
    return decodeHostValue(reply) as unknown[];
  } catch (error) {
    const cause = deathOf(member.id, error) ?? asWhiprayError(error);
    if (cause.code === "CANCELLED") throw cause;
    throw new RTensorError(member.id, missingOf(cause.details) ?? ids, cause.message, { cause });
  }
}

// A worker that is gone has none left; any other failure is told, or memory would fill in silence (areal.md 7, 1581).
async function clearOn(member: Member, ids?: readonly string[]): Promise<ClearedTensors> {
  const timeoutMs = CLEAR_TIMEOUT_MS;
  try {
    const reply = await member.server.call("clearTensors", encodeHostRequest({ ids }), { timeoutMs });
    return decodeHostValue(reply) as ClearedTensors;
  } catch (error) {
    if (deathOf(member.id, error)) return NOTHING;
    throw error;
  }
}

function missingOf(details: Readonly<Record<string, unknown>> | undefined): string[] | undefined {
  const missing = details?.["missing"];
  return Array.isArray(missing) ? missing.map(String) : undefined;
}
