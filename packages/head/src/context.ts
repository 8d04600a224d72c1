import { type Clock, type IdSource, type Logger, WhiprayError } from "@whipray/core";
import type { Endpoint, IncomingCall, Role } from "@whipray/rpc";
import type { ActorEffect } from "./actor-effects.ts";
import type { ActorTable } from "./actor-table.ts";
import type { EventLog } from "./event-log.ts";
import type { GroupEffect } from "./group-effects.ts";
import type { GroupTable } from "./group-table.ts";
import type { JobTable } from "./job-table.ts";
import type { Journal } from "./journal.ts";
import type { KvTable } from "./kv-table.ts";
import type { NodeTable } from "./node-table.ts";
import type { HeadOptions } from "./options.ts";
import type { Raylets } from "./raylets.ts";
import type { TaskTable } from "./task-table.ts";
import type { Waiters } from "./waiters.ts";

/** How far the effects of an event have come. Neither rejects. */
export interface Progress {
  /** The journal has them. */
  readonly saved: Promise<void>;
  /** Nothing of what was released or stopped is left on any node. */
  readonly gone: Promise<void>;
}

/** What the head's services share: the tables, and the ways to the outside. */
export interface HeadContext {
  readonly endpoint: Endpoint;
  readonly clock: Clock;
  readonly ids: IdSource;
  readonly logger: Logger;
  readonly options: HeadOptions;
  readonly clusterId: string;
  readonly journal: Journal;
  readonly waiters: Waiters;
  /** What happened; services add to it. */
  readonly events: EventLog;
  readonly nodes: NodeTable;
  readonly groups: GroupTable;
  readonly actors: ActorTable;
  readonly jobs: JobTable;
  readonly kv: KvTable;
  readonly tasks: TaskTable;
  readonly raylets: Raylets;
  runGroups(effects: readonly GroupEffect[]): Progress;
  runActors(effects: readonly ActorEffect[]): Progress;
  /** Looks for places soon, once for all that changed in this turn. */
  reschedule(): void;
}

export function allOf(progress: readonly Progress[]): Progress {
  return {
    saved: Promise.all(progress.map((one) => one.saved)).then(() => undefined),
    gone: Promise.all(progress.map((one) => one.gone)).then(() => undefined),
  };
}

/** @throws WhiprayError `FORBIDDEN`: tokens are bound to roles (design.md, mechanism 15). */
export function onlyFor(call: IncomingCall, ...roles: Role[]): void {
  if (roles.includes(call.peer.role)) return;
  throw new WhiprayError({
    code: "FORBIDDEN",
    message: `${call.method} is for ${roles.join(", ")}; this is a ${call.peer.role}`,
    details: { method: call.method, role: call.peer.role },
  });
}

/** @throws WhiprayError `OWNER_DIED`: whoever makes something must be there: the actor that did, else the job's driver. */
export function checkOwner(ctx: HeadContext, jobId: string, ownerActor: string | undefined): void {
  const there =
    ownerActor === undefined ? ctx.jobs.has(jobId) : (ctx.actors.record(ownerActor)?.state ?? "DEAD") !== "DEAD";
  if (there) return;
  const who = ownerActor === undefined ? `job ${jobId}` : `actor ${ownerActor}`;
  throw new WhiprayError({
    code: "OWNER_DIED",
    message: `${who} is not there (any more) and cannot own anything; open the job first`,
    details: { jobId, ownerActor },
  });
}
