import { type Clock, type IdSource, type Logger, type RandomSource, silentLogger } from "@whipray/core";
import type { ActorRow, Endpoint, GroupRow, NodeRow } from "@whipray/rpc";
import type { ActorRecord } from "./actor-record.ts";
import { ActorService } from "./actor-service.ts";
import { ActorTable } from "./actor-table.ts";
import type { HeadContext } from "./context.ts";
import { EventLog } from "./event-log.ts";
import { headStarted } from "./event-of.ts";
import { EVENTS_KEY, EventService } from "./event-service.ts";
import type { GroupRecord } from "./group-record.ts";
import { GroupService } from "./group-service.ts";
import { GroupTable } from "./group-table.ts";
import { HoldTeller } from "./hold-teller.ts";
import { JobService } from "./job-service.ts";
import { type JobRecord, JobTable } from "./job-table.ts";
import { Journal } from "./journal.ts";
import { KvService } from "./kv-service.ts";
import { type KvRecord, KvTable } from "./kv-table.ts";
import { EPOCHS_PER_TERM, TASKS_KEPT } from "./limits.ts";
import type { NodeRecord } from "./node-record.ts";
import { NodeService } from "./node-service.ts";
import { NodeTable } from "./node-table.ts";
import { DRIVER_GRACE_MS, HEAD_OUTAGE_MS, type HeadOptions, STARVATION_MS } from "./options.ts";
import { PackageService } from "./package-service.ts";
import { Raylets } from "./raylets.ts";
import { endOrphans } from "./recovery.ts";
import type { Store, StoreContents } from "./store.ts";
import { TaskTable } from "./task-table.ts";
import { Ticker } from "./ticker.ts";
import { Waiters } from "./waiters.ts";

/** What a head is made of. */
export interface HeadParts {
  endpoint: Endpoint;
  clock: Clock;
  ids: IdSource;
  random: RandomSource;
  store: Store;
  logger?: Logger;
  options?: HeadOptions;
}

/** What the journal keeps of the head itself. */
interface HeadRecord {
  clusterId: string;
  /** Starts so far. */
  term: number;
}

/**
 * The head: knows nodes, jobs, actors, placement groups and small values, decides where things live, and keeps what it
 * acknowledged. It serves every "→ head" method of `@whipray/rpc` on the endpoint that it is given; it opens no socket itself.
 */
export class Head {
  readonly #parts: HeadParts;
  #running: { ctx: HeadContext; nodes: NodeService; jobs: JobService; holds: HoldTeller; ticker: Ticker } | undefined;
  #stopped = false;

  constructor(parts: HeadParts) {
    this.#parts = parts;
  }

  /** Loads the journal, then serves. @throws WhiprayError as `Store.load` and `Store.append`. */
  async start(): Promise<void> {
    const { clock, endpoint, ids, store, options = {}, logger = silentLogger } = this.#parts;
    const contents = await store.load();
    const known = contents.meta.get("head") as HeadRecord | undefined;
    const clusterId = options.clusterId ?? known?.clusterId ?? ids.next("cluster");
    const term = (known?.term ?? 0) + 1;
    const journal = new Journal(store, clock, logger);
    await journal.append([{ table: "meta", key: "head", value: { clusterId, term } satisfies HeadRecord }]);

    const nodes = new NodeTable({ headOutageMs: options.headOutageMs ?? HEAD_OUTAGE_MS });
    const groups = new GroupTable({
      starvationMs: options.starvationMs ?? STARVATION_MS,
      epochFloor: term * EPOCHS_PER_TERM,
    });
    const actors = new ActorTable({ ids });
    const jobs = new JobTable({ driverGraceMs: options.driverGraceMs ?? DRIVER_GRACE_MS });
    const kv = new KvTable();
    const waiters = new Waiters(clock);
    const added = (): void => waiters.wake(EVENTS_KEY);
    const events = new EventLog({ clock, floor: term * EPOCHS_PER_TERM, added });
    events.add(headStarted(clusterId, term));
    const tasks = new TaskTable(TASKS_KEPT);
    let due = false;
    const ctx: HeadContext = {
      ...{
        endpoint,
        clock,
        ids,
        logger,
        options,
        clusterId,
        journal,
        waiters,
        events,
        nodes,
        groups,
        actors,
        jobs,
        kv,
        tasks,
      },
      raylets: new Raylets(nodes, clock, this.#parts.random, logger),
      runGroups: (effects) => groupService.run(effects),
      runActors: (effects) => actorService.run(effects),
      reschedule: () => {
        if (due) return;
        due = true;
        this.#running?.ticker.hurry();
        queueMicrotask(() => {
          due = false;
          this.#schedule();
        });
      },
    };
    const groupService = new GroupService(ctx);
    const actorService = new ActorService(ctx, term > 1);
    const jobService = new JobService(ctx);
    const kvService = new KvService(ctx);
    const packages = new PackageService(ctx);
    const nodeService = new NodeService(ctx, actorService);
    this.#restore(ctx, contents);
    const tick = (nowMs: number): void => {
      nodeService.run(nodes.tick(nowMs));
      ctx.runGroups(groups.tick(nodes, nowMs));
      ctx.runActors(actors.tick(groups, nowMs));
      jobService.tick(nowMs);
      kvService.tick(nowMs);
      packages.tick(nowMs);
      this.#schedule();
      groupService.tellStuck(nowMs);
    };
    const waits = (): boolean => groups.anyWaits() || actors.anyWaits();
    const ticker = new Ticker(clock, tick, (nowMs) => (waits() ? nowMs : nodes.calmUntilMs(nowMs)));
    const holds = new HoldTeller(nodes, ctx.raylets, logger);
    this.#running = { ctx, nodes: nodeService, jobs: jobService, holds, ticker };
    ticker.start();
    for (const service of [groupService, actorService, jobService, kvService, nodeService, new EventService(ctx)])
      service.serve();
    ctx.reschedule();
  }

  #restore(ctx: HeadContext, contents: StoreContents): void {
    const { nodes, groups, actors, jobs, kv, journal, clock } = ctx;
    journal.source("nodes", (nodeId) => nodes.record(nodeId));
    journal.source("groups", (pgId) => groups.record(pgId));
    journal.source("actors", (actorId) => actors.record(actorId));
    journal.source("jobs", (jobId) => jobs.record(jobId));
    journal.source("kv", (id) => kv.record(id));
    const nowMs = clock.now();
    nodes.restore(contents.nodes.values() as Iterable<NodeRecord>, nowMs);
    groups.restore(contents.groups.values() as Iterable<GroupRecord>, nowMs, clock.wallMs());
    actors.restore(contents.actors.values() as Iterable<ActorRecord>, nowMs);
    jobs.restore(contents.jobs.values() as Iterable<JobRecord>, nowMs);
    kv.restore(contents.kv.values() as Iterable<KvRecord>, nowMs, clock.wallMs());
    endOrphans(ctx);
  }

  #schedule(): void {
    if (!this.#running || this.#stopped) return;
    const { ctx, holds } = this.#running;
    const nowMs = ctx.clock.now();
    ctx.runGroups(ctx.groups.schedule(ctx.nodes, nowMs));
    holds.tell(ctx.groups.holds());
    ctx.runActors(ctx.actors.schedule(ctx.nodes, ctx.groups, nowMs));
  }

  /**
   * The control connection of a raylet broke (its session may go on): the node is suspect at once. For whoever owns the sockets; without
   * it the head notices by the missing beats.
   */
  linkLost(nodeId: string): void {
    this.#running?.ticker.hurry();
    void this.#running?.nodes.linkLost(nodeId);
  }

  /** The control connection of a driver broke: one that was killed on this machine is known at once, not by its session's end. */
  driverLinkLost(address: string): void {
    void this.#running?.jobs.linkLost(address);
  }

  /** The tables themselves, to look at: a simulation does it after each event. Undefined before `start`. */
  get tables(): Pick<HeadContext, "nodes" | "groups" | "actors"> | undefined {
    return this.#running?.ctx;
  }

  /** What `status` shows. */
  status(): {
    clusterId: string;
    nodes: NodeRow[];
    groups: GroupRow[];
    actors: ActorRow[];
    waiters: number;
    trouble?: string;
  } {
    if (!this.#running) return { clusterId: "", nodes: [], groups: [], actors: [], waiters: 0 };
    const { nodes, groups, actors, clusterId, waiters, journal } = this.#running.ctx;
    return {
      clusterId,
      nodes: nodes.rows(this.#parts.clock.now()),
      groups: groups.ids().flatMap((pgId) => groups.row(pgId, nodes) ?? []),
      actors: actors.ids().flatMap((actorId) => actors.row(actorId, nodes, groups) ?? []),
      waiters: waiters.size,
      ...(journal.trouble ? { trouble: journal.trouble.message } : {}),
    };
  }

  /** Stops deciding and closes the journal. Raylets keep what they run, as when a head dies; the endpoint is its owner's to close. */
  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#running?.ticker.stop();
    this.#running?.ctx.raylets.close();
    await (this.#running?.ctx.journal.close() ?? this.#parts.store.close());
  }
}
