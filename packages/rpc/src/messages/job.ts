import { anything, bool, bytes, count, id, list, method, optional, shape, str } from "../fields.ts";

/** driver → head, first call. The job lives as long as the driver's session. `jobId` again after a head restart. */
export const jobOpen = method(
  "job.open",
  shape({
    jobId: id("job"),
    namespace: optional(str(128)),
    pid: count(),
    hostname: str(256),
    /** Where `pid` means something (PROTOCOL.md, "Processes and their pids"). */
    pidNamespace: optional(str(128)),
    entrypoint: str(4_096),
  }),
  shape({ jobId: id("job"), namespace: str(128), cluster: id("cluster"), headInc: id("inc") }),
);
/** driver → head: goodbye. What the job owns and is not detached ends; the reply comes when it is gone. */
export const jobClose = method("job.close", shape({ jobId: id("job") }), anything);

export const KV_VALUE_LIMIT_BYTES = 1_048_576;
const key = { namespace: str(128), key: str(1_024) };
export const kvPut = method(
  "kv.put",
  shape({ ...key, value: bytes(KV_VALUE_LIMIT_BYTES), overwrite: bool, ttlMs: optional(count()) }),
  shape({ added: bool }),
);
export const kvGet = method("kv.get", shape(key), shape({ value: optional(bytes(KV_VALUE_LIMIT_BYTES)) }));
export const kvDelete = method("kv.delete", shape({ ...key, prefix: bool }), shape({ deleted: count() }));
export const kvKeys = method(
  "kv.keys",
  shape({ namespace: str(128), prefix: str(1_024) }),
  shape({ keys: list(str(1_024)) }),
);
