import { asWhiprayError, type WhiprayError } from "@whipray/core";
import { EngineCallError } from "./errors.ts";
import { deathOf } from "./failures.ts";
import type { Member } from "./role.ts";
import { askServer } from "./server-calls.ts";

/** What a worker says of itself, also while a call runs (AReaL: GET /health). */
export interface WorkerHealth {
  readonly workerId: string;
  /** `unreached`: no answer, which is no proof that it is dead. */
  readonly status: "healthy" | "dead" | "unreached";
  /** Its engines, in the order of their creation. */
  readonly engines: readonly string[];
  /** A method runs, or its process answers nothing because C code holds Python's lock. */
  readonly busy: boolean;
  /** Calls that wait behind it. */
  readonly queued?: number;
  /** The method that runs longest, and how long. */
  readonly method?: string;
  readonly sinceMs?: number;
  /** Tensors that stay there, and their bytes. */
  readonly tensors?: number;
  readonly tensorBytes?: number;
  /** What its engine sees otherwise than it was granted: `2 GPU were granted, but this process sees 1`. */
  readonly deviceMismatches?: readonly string[];
  /** Why it is not healthy. */
  readonly error?: WhiprayError;
}

export const HEALTH_TIMEOUT_MS = 10_000;
/** What a late call may wait beyond its time for the ranks' own words. */
const RANKS_TIMEOUT_MS = 2_000;

/** Never throws: what is wrong is part of the answer. */
export async function workerHealth(member: Member, timeoutMs = HEALTH_TIMEOUT_MS): Promise<WorkerHealth> {
  const workerId = member.id;
  try {
    const said = (await askServer(member.server, "health", [], timeoutMs)) as Partial<WorkerHealth>;
    return { engines: [], busy: false, ...said, workerId, status: "healthy" };
  } catch (thrown) {
    const died = deathOf(workerId, thrown);
    const status = died ? "dead" : "unreached";
    return { workerId, status, engines: [], busy: false, error: died ?? asWhiprayError(thrown) };
  }
}

/**
 * The error of a call that took too long says what the ranks of its role do: in a collective, the one that is not there is the cause
 * (areal.md 7: hangs at scale, opaque time-outs of NCCL). Any other error as it is.
 */
export async function withRanks(error: unknown, ranks: readonly Member[]): Promise<unknown> {
  const late = error instanceof EngineCallError && error.details["code"] === "DEADLINE_EXCEEDED";
  if (!late || ranks.length < 2) return error;
  const health = await Promise.all(ranks.map((rank) => workerHealth(rank, RANKS_TIMEOUT_MS)));
  const { workerId, method, reason, attempt, cause, where, details } = error;
  return new EngineCallError(workerId, method, `${reason}; ${describeHealth(health)}`, attempt, {
    cause,
    where,
    details,
  });
}

/** Workers that one part of a report names. */
const NAMED_LIMIT = 8;

/** Who does what, for people: `in train_batch: actor/0 (12.3 s); idle: actor/1, actor/2`. */
export function describeHealth(all: readonly WorkerHealth[]): string {
  const parts = new Map<string, string[]>();
  for (const one of all) {
    const doing = doingOf(one);
    parts.set(doing, [...(parts.get(doing) ?? []), nameOf(one)]);
  }
  return [...parts].map(([doing, names]) => `${doing}: ${shortened(names)}`).join("; ");
}

function doingOf({ status, busy, method }: WorkerHealth): string {
  if (status !== "healthy") return status;
  return method !== undefined ? `in ${method}` : busy ? "busy without an answer" : "idle";
}

function nameOf({ workerId, sinceMs }: WorkerHealth): string {
  return sinceMs === undefined ? workerId : `${workerId} (${(sinceMs / 1_000).toFixed(1)} s)`;
}

function shortened(names: readonly string[]): string {
  const more = names.length - NAMED_LIMIT;
  return names.slice(0, NAMED_LIMIT).join(", ") + (more > 0 ? ` and ${more} more` : "");
}
