import { decodeValues, encodeValues, type Parts } from "@whipray/rpc";

/**
 * Methods of the engine host (python/README.md) and what their requests hold: `health` {}, `configure` {config, role, rank},
 * `set_env` {env}, `create_engine` {engine, engineName, args, kwargs}, `call` {engineName, method, args, kwargs, rpcMeta},
 * `destroy` {engineName?}.
 */
export const HOST_METHODS = {
  health: "health",
  configure: "configure",
  setEnv: "set_env",
  createEngine: "create_engine",
  call: "call",
  destroy: "destroy",
} as const;

/** A host method's request as parts: one map of named values. Memory of tensors is not copied. @throws `NOT_SERIALISABLE`. */
export function encodeHostRequest(request: Readonly<Record<string, unknown>>): Parts {
  const given = Object.fromEntries(Object.entries(request).filter(([, value]) => value !== undefined));
  return encodeValues(given, "request");
}

/** What a host method answered. */
export function decodeHostValue(parts: Parts): unknown {
  return parts[0]?.length ? decodeValues(parts) : undefined;
}
