import { GROWTH } from "./growth.ts";

/** What a row is measured beside, in the same round. */
export type LimitId = "ping" | "frames" | "two-hop" | "memcpy" | "node-start" | "tcp";

export interface RowSpec {
  id: string;
  /** Ray's own name where the row is of its microbenchmark. */
  name: string;
  /** How many units one step counts for: 1 000 calls, 0.8 GB. Without it the side gives the figure itself. */
  per?: number;
  unit: "/s" | "GB/s" | "ms" | "MB" | "%" | "processes";
  better: "more" | "less";
  limit?: LimitId;
  /** What issue 5 asks: so many times better than Ray, or such a part of the limit; one of them is enough. */
  floor?: { times?: number; ofLimit?: number };
  /** Of latencies in an open loop, each step counted from when it was due: the value is their p99. */
  openLoop?: number;
  /** `per` is for the full length of the loop; `--quick` takes a tenth on both sides. */
  scaled?: boolean;
  /** The same each time: measured in one round. */
  once?: boolean;
  /** Left out by `--quick`. */
  slow?: boolean;
  /** Drivers that reach their cluster as from another machine: Ray's `ray://`, Whipray without its raylet's socket. */
  remote?: boolean;
  /** Seconds of the round that is not counted, where half a round is not enough: on both sides daemons have just been started. */
  warmUpSeconds?: number;
  /** Needs a second node, which the loop starts: not in an embedded cluster. */
  far?: boolean;
  /** What both promise, where it is not the same. */
  guarantees?: string;
}

const rate = (id: string, name: string, per = 1, more: Partial<RowSpec> = {}): RowSpec => ({
  id,
  name,
  per,
  unit: "/s",
  better: "more",
  ...more,
});
const figure = (id: string, name: string, unit: RowSpec["unit"], more: Partial<RowSpec> = {}): RowSpec => ({
  id,
  name,
  unit,
  better: "less",
  ...more,
});
const copied = (id: string, name: string, gigabytes: number, more: Partial<RowSpec> = {}): RowSpec =>
  rate(id, name, gigabytes, { unit: "GB/s", limit: "memcpy", ...more });

const SMALL_PUT =
  "both: another process can read it. Ray: small objects of a driver lie in its memory and are served by it; Whipray: the same. Whipray's loop frees each ref itself";
const AT_MOST_ONCE = "both: at most once, errors with cause. Whipray: token checked on the connection";
const GIB = 1.073_741_824;

/** The rows of Ray's microbenchmark (spec/ray.md section 6.1) and ours. Floors: issue 5. */
export const ROWS: readonly RowSpec[] = [
  figure("idle-memory", "idle memory, driver and cluster (USS)", "MB", { floor: { times: 4 } }),
  figure("idle-processes", "idle processes", "processes"),
  figure("idle-cpu", "CPU used while idle, of one core", "%", {
    guarantees: "over 3 s; both beat: Ray's raylet reports twice a second and more, Whipray's once",
  }),
  figure("installed-size", "installed size with all dependencies", "MB", {
    floor: { times: 8 },
    once: true,
    guarantees:
      "Ray: site-packages without pip and setuptools, numpy among them. Whipray: node_modules of all packages",
  }),
  figure("init-first", "import + init → first actor result", "ms", {
    floor: { times: 20 },
    guarantees:
      "each in a process of its own. Ray starts its daemons, embedded Whipray a thread; the daemons' column connects to a running cluster",
  }),
  rate("get-small", "single client get calls (Plasma Store)", 1, { floor: { times: 10 }, guarantees: SMALL_PUT }),
  rate("put-small", "single client put calls (Plasma Store)", 1, { floor: { times: 20 }, guarantees: SMALL_PUT }),
  rate("multi-put-small", "multi client put calls (Plasma Store)", 1_000, { guarantees: SMALL_PUT }),
  copied("put-gigabytes", "single client put gigabytes", 0.8, { floor: { ofLimit: 0.8 } }),
  rate("tasks-and-get-batch", "single client tasks and get batch", 1, { floor: { times: 20 } }),
  copied("multi-put-gigabytes", "multi client put gigabytes", 8, { slow: true }),
  rate("get-10k-refs", "single client get object containing 10k refs", 1, { floor: { times: 20 } }),
  rate("wait-1k-refs", "single client wait 1k refs", 1, { floor: { times: 20 } }),
  rate("tasks-sync", "single client tasks sync", 1, { floor: { times: 10 }, limit: "ping" }),
  rate("tasks-async", "single client tasks async", 1_000, { floor: { times: 20 }, limit: "frames" }),
  rate("multi-tasks-async", "multi client tasks async", 40_000, { scaled: true, limit: "frames" }),
  rate("actor-sync", "1:1 actor calls sync", 1, {
    floor: { times: 10, ofLimit: 0.6 },
    limit: "ping",
    guarantees: AT_MOST_ONCE,
  }),
  rate("actor-async", "1:1 actor calls async", 1_000, {
    floor: { times: 25 },
    limit: "frames",
    guarantees: AT_MOST_ONCE,
  }),
  rate("actor-concurrent", "1:1 actor calls concurrent", 1_000, { floor: { times: 25 }, limit: "frames" }),
  rate("actor-1-n", "1:n actor calls async", 5_000, { floor: { times: 25 }, scaled: true, limit: "frames" }),
  rate("actor-n-n", "n:n actor calls async", 20_000, { floor: { times: 25 }, scaled: true, limit: "frames" }),
  rate("actor-n-n-arg", "n:n actor calls with arg async", 1_000, { scaled: true, limit: "frames" }),
  rate("async-actor-sync", "1:1 async-actor calls sync", 1, { floor: { times: 10, ofLimit: 0.6 }, limit: "ping" }),
  rate("async-actor-async", "1:1 async-actor calls async", 1_000, { floor: { times: 25 }, limit: "frames" }),
  rate("async-actor-args", "1:1 async-actor calls with args async", 1_000, { floor: { times: 25 }, limit: "frames" }),
  rate("async-actor-1-n", "1:n async-actor calls async", 5_000, {
    floor: { times: 25 },
    scaled: true,
    limit: "frames",
  }),
  rate("async-actor-n-n", "n:n async-actor calls async", 20_000, {
    floor: { times: 25 },
    scaled: true,
    limit: "frames",
  }),
  rate("groups-100", "placement group create/removal", 100, {
    floor: { times: 10 },
    guarantees: "Whipray's daemons have each group on disk before they answer (fsync); Ray keeps it in memory",
  }),
  rate("groups-one", "placement group create → ready → remove, one at a time", 1, { floor: { times: 100 } }),
  rate("gang-8", "gang of 8 bundles create → ready → remove", 1),
  rate("launch-1", "actor launch, one at a time", 1, {
    floor: { times: 10, ofLimit: 0.6 },
    limit: "node-start",
    guarantees: "Ray's default keeps idle workers for what was launched before; its third column starts them ahead",
  }),
  rate("launch-20", "actor launch, 20 at once", 20, { floor: { times: 10, ofLimit: 0.6 }, limit: "node-start" }),
  rate("launch-100", "actor launch, 100 at once", 100, {
    floor: { times: 10, ofLimit: 0.6 },
    limit: "node-start",
    slow: true,
  }),
  rate("engine-1-kib", "RPC-server actor → engine call with 1 KiB", 1, {
    floor: { times: 3, ofLimit: 0.7 },
    limit: "two-hop",
    guarantees:
      "Ray: the same class as an actor with numpy. Whipray: a Node actor that passes the call to a Python engine",
  }),
  rate("engine-async", "RPC-server actor → engine calls, 1 000 at once", 1_000, { floor: { times: 10 } }),
  copied("engine-1-mib", "RPC-server actor → engine call with 1 MiB there and back", 2 * 0.001_048_576),
  copied("engine-64-mib", "RPC-server actor → engine call with 64 MiB there and back", 2 * 0.067_108_864, {
    floor: { times: 1 },
  }),
  rate("stream-10k", "stream of 10 000 small items", 10_000),
  rate("put-1-kib", "put of 1 KiB", 1, { guarantees: SMALL_PUT }),
  copied("put-1-mib", "put of 1 MiB", 0.001_048_576),
  copied("put-64-mib", "put of 64 MiB", 0.067_108_864, { floor: { ofLimit: 0.8 } }),
  copied("put-800-mib", "put of 800 MiB", (800 / 1_024) * GIB, { floor: { ofLimit: 0.8 } }),
  rate("get-1-kib", "get of 1 KiB"),
  rate("get-1-mib", "get of 1 MiB (a view)"),
  rate("get-64-mib", "get of 64 MiB (a view)"),
  rate("get-800-mib", "get of 800 MiB (a view)"),
  rate("read-back", "put of 1 MiB, read by another process", 1),
  copied("broadcast-256-mib", "broadcast of 256 MiB to 4 workers", 4 * (256 / 1_024) * GIB, {
    guarantees: "both: one copy in shared memory, four processes read its first and last byte",
  }),
  rate("named-lookup", "named-actor lookup", 1),
  ...[25, 50, 75].map((percent) =>
    figure(`open-loop-${percent}`, `actor call latency p99, open loop at ${percent} % of the own maximum rate`, "ms", {
      openLoop: percent / 100,
      guarantees:
        "calls are sent when they are due, whether the one before has come back or not; the histogram has p50 and p99.9, too",
    }),
  ),
  figure("kill-noticed", "kill -9 of an actor → its caller has the error", "ms"),
  rate("cross-sync", "actor call to another node, sync", 1, {
    far: true,
    warmUpSeconds: 2,
    limit: "ping",
    floor: { times: 5 },
  }),
  copied("cross-64-mib", "64 MiB to an actor on another node", 0.067_108_864, {
    far: true,
    warmUpSeconds: 2,
    limit: "tcp",
    floor: { times: 5, ofLimit: 0.7 },
    guarantees:
      "both: a raylet of its own on this host, so values cross by TCP; Whipray's has a home, sockets and memory of its own, too",
  }),
  figure("node-killed", "kill -9 of a node's raylet → the caller of its actor has the error", "ms", { far: true }),
  ...GROWTH.actors.map((count) =>
    rate(`grow-actors-${count}`, `1 000 calls at once over ${count} actors`, 1_000, {
      limit: "frames",
      slow: count > 10,
      guarantees: "a process each on both sides; where the machine has no memory for them the row says so",
    }),
  ),
  ...GROWTH.raylets.map((count) =>
    rate(`grow-raylets-${count}`, `1 000 calls at once over ${count} raylets, an actor each`, 1_000, {
      limit: "frames",
      slow: count > 4,
      far: true,
      guarantees: "all on this host: with more raylets than processors they share these",
    }),
  ),
  rate("client-get", "client: get calls", 1, { remote: true }),
  rate("client-put", "client: put calls", 1, { remote: true }),
  copied("client-put-gigabytes", "client: put gigabytes", 0.8, { remote: true, slow: true }),
  rate("client-tasks-batch", "client: tasks and get batch", 1, { remote: true }),
  rate("client-tasks-put", "client: tasks and put batch", 1_000, { remote: true }),
  rate("client-actor-sync", "client: 1:1 actor calls sync", 1, { remote: true, limit: "ping" }),
  rate("client-actor-async", "client: 1:1 actor calls async", 1_000, { remote: true, limit: "frames" }),
  rate("client-actor-concurrent", "client: 1:1 actor calls concurrent", 1_000, { remote: true, limit: "frames" }),
];

/** The loop that a row runs: `client:` rows run those of their plain twins. */
export function loopOf({ id }: Pick<RowSpec, "id">): string {
  return CLIENT_LOOPS[id] ?? id;
}

const CLIENT_LOOPS: Readonly<Record<string, string>> = {
  "client-get": "get-small",
  "client-put": "put-small",
  "client-put-gigabytes": "put-gigabytes",
  "client-tasks-batch": "tasks-and-get-batch",
  "client-tasks-put": "multi-put-small",
  "client-actor-sync": "actor-sync",
  "client-actor-async": "actor-async",
  "client-actor-concurrent": "actor-concurrent",
};

/** Rows of the issue that are not measured, and why; the report lists them. */
export const LEFT_OUT: Readonly<Record<string, string>> = {
  "object out-of-scope callback registration; callback fire 1k batch": "only in Ray's newest source, not in 2.58.0",
};

/** The part of a scaled loop that `--quick` runs. */
export const QUICK_SCALE = 0.1;
