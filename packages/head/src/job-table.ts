import type { Infer, jobOpen } from "@whipray/rpc";
import { limit } from "./full-table.ts";
import { JOBS_LIMIT } from "./limits.ts";
import { checkName } from "./names.ts";

export type JobRequest = Infer<(typeof jobOpen)["request"]>;

/** What the journal keeps of a job: a driver's program, as long as it is there. */
export interface JobRecord {
  readonly jobId: string;
  readonly namespace: string;
  readonly pid: number;
  readonly hostname: string;
  readonly pidNamespace?: string | undefined;
  readonly entrypoint: string;
  readonly openedAtMs: number;
}

interface Job {
  readonly record: JobRecord;
  /** The driver's session; undefined until it comes back after a restart of the head. */
  session: object | undefined;
  goneAtMs: number | undefined;
}

/**
 * Jobs live as long as their driver's session. Pure. A session survives broken connections by itself; when it is over, or says goodbye,
 * the job ends at once. After a restart of the head a driver has `driverGraceMs` to come back.
 */
export class JobTable {
  readonly #jobs = new Map<string, Job>();
  readonly #driverGraceMs: number;

  constructor(options: { driverGraceMs: number }) {
    this.#driverGraceMs = options.driverGraceMs;
  }

  restore(records: Iterable<JobRecord>, nowMs: number): void {
    for (const record of records) this.#jobs.set(record.jobId, { record, session: undefined, goneAtMs: nowMs });
  }

  /** Idempotent: a driver that comes back takes its job over. @throws WhiprayError `LIMIT`, `INVALID_NAME`. */
  open(request: JobRequest, session: object, wallMs: number): { record: JobRecord; created: boolean } {
    const known = this.#jobs.get(request.jobId);
    if (known) {
      Object.assign(known, { session, goneAtMs: undefined });
      return { record: known.record, created: false };
    }
    const { jobId, pid, hostname, pidNamespace, entrypoint } = request;
    // Ray: a random namespace for each job unless it names one.
    const namespace = request.namespace ?? jobId;
    checkName("namespace", namespace);
    if (this.#jobs.size >= JOBS_LIMIT) throw limit("jobs", JOBS_LIMIT);
    const process = { pid, hostname, ...(pidNamespace !== undefined && { pidNamespace }) };
    const record = { jobId, namespace, ...process, entrypoint, openedAtMs: Math.floor(wallMs) };
    this.#jobs.set(jobId, { record, session, goneAtMs: undefined });
    return { record, created: true };
  }

  /** Whether the end of this session ends the job: not when another session has taken it over. */
  endsWith(jobId: string, session: object): boolean {
    return this.#jobs.get(jobId)?.session === session;
  }

  /** The session is gone, and the driver is expected back. */
  left(jobId: string, nowMs: number): void {
    const job = this.#jobs.get(jobId);
    if (job) Object.assign(job, { session: undefined, goneAtMs: nowMs });
  }

  /** Jobs whose driver did not come back in time. */
  late(nowMs: number): string[] {
    return [...this.#jobs].flatMap(([jobId, { goneAtMs }]) =>
      goneAtMs !== undefined && nowMs - goneAtMs >= this.#driverGraceMs ? [jobId] : [],
    );
  }

  remove(jobId: string): boolean {
    return this.#jobs.delete(jobId);
  }

  has(jobId: string): boolean {
    return this.#jobs.has(jobId);
  }

  record(jobId: string): JobRecord | undefined {
    return this.#jobs.get(jobId)?.record;
  }

  records(): JobRecord[] {
    return [...this.#jobs.values()].map((job) => job.record);
  }
}
