import { WhiprayError } from "@whipray/core";
import { encodeValues, type Peer, storedOf } from "@whipray/rpc";
import type { ActorMethod } from "./actor-methods.ts";
import { isLarge, type ObjectAccess, outgoingParts } from "./object-access.ts";

/**
 * A function whose result is a list of `count` objects, each with a ref of its own (Ray: num_returns): large ones lie in the store for
 * themselves. `owner` is asked before the function runs.
 */
export function severalResults(
  method: ActorMethod,
  name: string,
  count: number,
  owner: () => Peer,
  objects: ObjectAccess | undefined,
): ActorMethod {
  return async (...args) => {
    const peer = owner();
    const results = await method(...args);
    const found = Array.isArray(results) ? `${results.length} values` : `no list but ${typeof results}`;
    if (!Array.isArray(results) || results.length !== count) {
      throw new WhiprayError({
        code: "INVALID_RETURN",
        message: `Task ${name} was to return a list of ${count} values (numReturns); it returned ${found}`,
        details: { task: name, numReturns: count },
      });
    }
    return Promise.all(results.map((result) => apart(result, peer, objects)));
  };
}

async function apart(result: unknown, peer: Peer, objects: ObjectAccess | undefined): Promise<unknown> {
  const parts = encodeValues(result);
  if (!objects || !isLarge(parts)) return result;
  return storedOf(await outgoingParts(parts, { peer }, objects)) ?? result;
}
