import { OutOfMemoryError, type WhiprayError, WorkerCrashedError } from "@whipray/core";
import {
  type Peer,
  processCause,
  type TaskFunction,
  type TaskLease,
  taskDefine,
  taskKill,
  taskRelease,
} from "@whipray/rpc";
import { PIPELINE_MS } from "./task-times.ts";

/** Tasks that are sent ahead to one worker at most. */
const PIPELINE_LIMIT = 64;
/** A lease that is older is given back when its worker is done: others may have waited for it (Ray: 500 ms). */
export const LEASE_MS = 500;
/** How long the raylet may look for the cause of a worker's end. */
const CAUSE_WAIT_MS = 2_000;

/** Functions that a session has defined, by session: it outlives a lease. */
const defined = new WeakMap<Peer, Set<string>>();

/** A leased worker process as its caller sees it. */
export class TaskWorker {
  readonly leaseId: string;
  readonly lease: TaskLease;
  readonly raylet: Peer;
  readonly peer: Peer;
  /** In this order; it runs the first of them. */
  readonly sent = new Set<object>();
  /** Tasks sent and not answered. */
  running = 0;
  /** What they are likely to take together, milliseconds. */
  loadMs = 0;
  /** What runs wants no other behind it. */
  alone = false;
  /** Runs of functions that are counted, by function. */
  readonly #counted = new Map<string, number>();
  #spent = false;
  /** When the last answer came. */
  #lastMs = 0;

  /** Of this process, which leases it. */
  readonly incarnation: string;

  readonly #endsMs: number;

  constructor(leaseId: string, lease: TaskLease, raylet: Peer, peer: Peer, incarnation: string, nowMs: number) {
    this.incarnation = incarnation;
    this.#endsMs = nowMs + LEASE_MS;
    this.leaseId = leaseId;
    this.lease = lease;
    this.raylet = raylet;
    this.peer = peer;
  }

  get nodeId(): string {
    const { address } = this.lease;
    return address.slice(0, address.indexOf("/"));
  }

  /** Whether one more task of this length may be sent: the first always, others ahead when all are short. */
  hasRoom(taskMs: number, alone: boolean, nowMs: number): boolean {
    if (this.peer.closed || this.isOver(nowMs)) return false;
    if (this.running === 0) return true;
    return !alone && !this.alone && this.running < PIPELINE_LIMIT && this.loadMs + taskMs <= PIPELINE_MS;
  }

  /** One more run of a function that may run so often in one process. */
  count(fnId: string, maxCalls: number): void {
    const runs = (this.#counted.get(fnId) ?? 0) + 1;
    this.#counted.set(fnId, runs);
    this.#spent ||= runs >= maxCalls;
  }

  /** Nothing more is to run there under this lease. */
  isOver(nowMs: number): boolean {
    return this.#spent || nowMs >= this.#endsMs;
  }

  /** It is needed no more. Another caller must not get it when runs were counted: they would count anew. */
  release(): void {
    const request = { leaseId: this.leaseId, ...(this.#counted.size > 0 && { end: true }) };
    this.raylet.invoke(taskRelease, request).catch(() => {}); // with its raylet gone the lease is too
  }

  /** Ends the process, whatever runs there. */
  kill(): void {
    this.raylet.invoke(taskKill, { leaseId: this.leaseId }).catch(() => {}); // with its raylet gone it is too
  }

  knows(fnId: string): boolean {
    return defined.get(this.peer)?.has(fnId) ?? false;
  }

  /** @throws WhiprayError `CODE_MISMATCH`, `IMPORT_FAILED`, `NOT_A_FUNCTION`. */
  async define(exported: TaskFunction): Promise<void> {
    await this.peer.invoke(taskDefine, exported);
    const known = defined.get(this.peer) ?? new Set();
    known.add(exported.fnId);
    defined.set(this.peer, known);
  }

  /** How long a task took of which the answer comes now: from when it was sent, or its predecessor was done. */
  answered(sentMs: number, nowMs: number): number {
    const tookMs = nowMs - Math.max(sentMs, this.#lastMs);
    this.#lastMs = nowMs;
    return tookMs;
  }

  /** Why the worker is gone, for the caller of a task that ran there. */
  async crash(name: string, error: WhiprayError): Promise<WorkerCrashedError> {
    const { address, pid } = this.lease;
    const request = { process: address, timeoutMs: CAUSE_WAIT_MS };
    const { cause } = await this.raylet.invoke(processCause, request).catch(() => ({ cause: undefined }));
    const tail = cause?.stderrTail?.length ? `\nlast lines of stderr:\n${cause.stderrTail.join("\n")}` : "";
    const why = cause?.message ?? error.message;
    const log = cause?.logPath === undefined ? "" : `\nits log: ${cause.logPath}`;
    const Kind = cause?.kind === "OUT_OF_MEMORY" ? OutOfMemoryError : WorkerCrashedError;
    return new Kind({
      message: `Task ${name} was under way when its worker ${address} went away: ${why}${tail}${log}`,
      details: { process: address, ...(cause && { cause: cause.kind }) },
      where: {
        process: address,
        pid,
        ...(cause?.nodeId !== undefined && { node: cause.nodeId }),
        ...(cause?.exitCode !== undefined && { exitCode: cause.exitCode }),
        ...(cause?.signal !== undefined && { signal: cause.signal }),
        ...(cause?.stderrTail !== undefined && { stderrTail: cause.stderrTail }),
        ...(cause?.logPath !== undefined && { logPath: cause.logPath }),
      },
      cause: error,
    });
  }
}
