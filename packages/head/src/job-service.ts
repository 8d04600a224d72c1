import { delay, WhiprayError } from "@whipray/core";
import { type IncomingCall, type Infer, jobClose, jobOpen, type Peer, tasksList, tasksReport } from "@whipray/rpc";
import { causeOf } from "./actor-record.ts";
import { allOf, type HeadContext, onlyFor, type Progress } from "./context.ts";
import { jobFinished, jobStarted } from "./event-of.ts";
import type { JobRequest } from "./job-table.ts";
import { CLOSE_WAIT_MS } from "./limits.ts";

/** Looks at a driver's pid after its control connection broke; it may still be on its way out at the first. */
const DRIVER_LOOKS = 5;
const DRIVER_LOOK_MS = 500;

/** Serves `job.*`, and `tasks.*` of what jobs do: a job lives as long as its driver's session, and what it owns with it. */
export class JobService {
  readonly #ctx: HeadContext;
  /** Job of each driver's address. */
  readonly #jobOf = new Map<string, string>();

  constructor(ctx: HeadContext) {
    this.#ctx = ctx;
  }

  serve(): void {
    const { endpoint, tasks } = this.#ctx;
    endpoint.serve(tasksReport, ({ rows, left }, call) => {
      onlyFor(call, "driver", "worker");
      tasks.report(rows, left);
      return null;
    });
    endpoint.serve(tasksList, ({ limit, ...filter }) => tasks.list(filter, limit));
    endpoint.serve(jobOpen, (request, call) => this.open(request, call));
    endpoint.serve(jobClose, async ({ jobId }, call) => {
      onlyFor(call, "driver");
      const { jobs } = this.#ctx;
      if (jobs.has(jobId) && !jobs.endsWith(jobId, call.peer)) throw notYours(jobId);
      await this.#close(jobId);
      return null;
    });
  }

  async open(request: JobRequest, call: IncomingCall): Promise<Infer<(typeof jobOpen)["reply"]>> {
    onlyFor(call, "driver");
    const { jobs, journal, events, clock, endpoint, clusterId } = this.#ctx;
    const { peer } = call;
    const { record, created } = jobs.open(request, peer, clock.wallMs());
    const { jobId, namespace } = record;
    if (created) {
      try {
        await journal.append([{ table: "jobs", key: jobId, value: record }]);
      } catch (error) {
        jobs.remove(jobId);
        throw error;
      }
      events.add(jobStarted(record));
    }
    peer.onClose((error) => this.#left(jobId, peer, error));
    this.#jobOf.set(peer.address, jobId);
    return { jobId, namespace, cluster: clusterId, headInc: endpoint.incarnation };
  }

  /**
   * The control connection of a driver broke. One whose process on this machine is dead does not come back: its job ends now, not
   * when its session does (design.md, mechanism 2).
   */
  async linkLost(address: string): Promise<void> {
    const { options, jobs, clock, logger } = this.#ctx;
    for (let look = 0; look < DRIVER_LOOKS; look++) {
      const jobId = this.#jobOf.get(address);
      const job = jobId === undefined ? undefined : jobs.record(jobId);
      if (!job || !options.prober) return;
      const { pid, hostname, pidNamespace } = job;
      const answer = await options.prober.probe({ pid, hostname, pidNamespace });
      logger.debug("looked at a driver", { address, pid, answer });
      if (answer === "gone") this.end(job.jobId, `its driver (pid ${pid}) is dead`);
      if (answer !== "there") return;
      await delay(clock, DRIVER_LOOK_MS);
    }
  }

  #left(jobId: string, session: Peer, error: WhiprayError): void {
    if (this.#jobOf.get(session.address) === jobId) this.#jobOf.delete(session.address);
    const { jobs, clock } = this.#ctx;
    if (!jobs.endsWith(jobId, session)) return;
    // The driver lives and starts a new session: it opens its job again at once.
    if (error.code === "SESSION_REPLACED") jobs.left(jobId, clock.now());
    else this.end(jobId, `its driver is gone (${error.message})`);
  }

  /** Answers when everything is gone, at the latest after `CLOSE_WAIT_MS`. */
  async #close(jobId: string): Promise<void> {
    const { clock, journal } = this.#ctx;
    const ended = this.end(jobId, "its driver said goodbye", true);
    await journal.orFail(ended.saved);
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const timer = clock.after(CLOSE_WAIT_MS, resolve);
    await Promise.race([ended.gone, late]);
    timer.cancel();
  }

  /** Ends the job and what it owns and is not detached (ray.md 3.1, 2.1). Idempotent. */
  end(jobId: string, reason: string, inOrder = false): Progress {
    const { jobs, actors, groups, nodes, tasks, clock, journal, events, runActors, runGroups } = this.#ctx;
    if (!jobs.remove(jobId)) return allOf([]);
    events.add(jobFinished(jobId, reason, inOrder));
    tasks.jobEnded(jobId, Math.floor(clock.wallMs()));
    const cause = causeOf("OWNER_DIED", `job ${jobId} ended: ${reason}`);
    const mine = actors.idsWhere((spec) => spec.jobId === jobId && !spec.detached && spec.ownerActor === undefined);
    return allOf([
      { saved: journal.save("jobs", jobId), gone: Promise.resolve() },
      runActors(mine.flatMap((actorId) => actors.kill(actorId, cause, true, nodes, clock.now()))),
      runGroups(groups.ownedBy({ jobId }).flatMap((pgId) => groups.remove(pgId))),
    ]);
  }

  tick(nowMs: number): void {
    for (const jobId of this.#ctx.jobs.late(nowMs)) this.end(jobId, "its driver did not come back");
  }
}

function notYours(jobId: string): WhiprayError {
  return new WhiprayError({ code: "FORBIDDEN", message: `job ${jobId} belongs to another driver`, details: { jobId } });
}
