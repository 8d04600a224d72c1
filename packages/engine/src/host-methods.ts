import { decodeValues, encodeValues, type Parts, type Revive } from "@whipray/rpc";

/**
 * Methods of the engine host (python/README.md) and what their requests hold: `health` {}, `stacks` {}, `configure` {config, role, rank},
 * `set_env` {env}, `create_engine` {engine, engineName, args, kwargs, stored?, code?, maxConcurrency?}, `call` {engineName, method, args, kwargs,
 * stored?, rpcMeta, remote?, local?}, `destroy` {engineName?}, `fetch_tensors` {ids}, `clear_tensors` {ids?}.
 */
export const HOST_METHODS = {
  health: "health",
  stacks: "stacks",
  configure: "configure",
  setEnv: "set_env",
  createEngine: "create_engine",
  call: "call",
  /** As `call`; a large result waits for `storeResult` or `sendResult`. */
  callStored: "call_stored",
  storeResult: "store_result",
  sendResult: "send_result",
  held: "held",
  destroy: "destroy",
  fetchTensors: "fetch_tensors",
  clearTensors: "clear_tensors",
  /** Lets another caller of this machine in: {path, token}. */
  openDoor: "open_door",
  /** Answered when all calls before it on its route are in the host's queue. */
  fence: "fence",
} as const;

/** A host method's request as parts: one map of named values. Memory of tensors is not copied. @throws `NOT_SERIALISABLE`. */
export function encodeHostRequest(request: Readonly<Record<string, unknown>>): Parts {
  const given: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(request)) if (value !== undefined) given[key] = value;
  return encodeValues(given, "request");
}

/** What a host method answered; `revive` makes objects of the references in it. */
export function decodeHostValue(parts: Parts, revive?: Revive): unknown {
  return parts[0]?.length ? decodeValues(parts, revive) : undefined;
}
