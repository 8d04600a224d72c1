import { asWhiprayError, type Clock, type Logger, WhiprayError } from "@whipray/core";
import type { ServerHandle } from "./cluster.ts";
import type { Member, Role } from "./role.ts";
import { askServer } from "./server-calls.ts";
import type { ServerStopped } from "./server-start.ts";

export interface TeardownOptions {
  /** Rank 0 goes after all others: it owns torch's TCPStore. */
  readonly reverseOrder: boolean;
  /** Time of the engines' own `destroy`, which may be collective. */
  readonly destroyTimeoutMs: number;
}

/** What became of one role. */
export interface RoleTeardown {
  readonly role: string;
  /** Workers whose engines ended by themselves. */
  readonly destroyed: string[];
  /** Workers that had to be killed without. */
  readonly killed: string[];
  /** Processes that no signal ended. */
  readonly leftovers: number;
  readonly groupsRemoved: number;
  readonly errors: { readonly where: string; readonly error: WhiprayError }[];
}

/** Beyond an engine's grace, for the raylet to look through its tree. */
const STOP_MARGIN_MS = 5_000;

/**
 * Ends a role in three phases, whatever fails on the way: all engines destroy themselves at the same time, because a barrier in
 * `destroy` needs every rank; then the processes end, rank 0 last with `reverseOrder`; then the groups go (areal.md 7, 1244).
 */
export async function tearDown(
  role: Role,
  options: TeardownOptions,
  { clock, logger }: { clock: Clock; logger: Logger },
): Promise<RoleTeardown> {
  const report: RoleTeardown = {
    role: role.name,
    destroyed: [],
    killed: [],
    leftovers: 0,
    groupsRemoved: 0,
    errors: [],
  };
  let leftovers = 0;
  let groupsRemoved = 0;
  const failed = (where: string, thrown: unknown): void => {
    const error = asWhiprayError(thrown);
    logger.warn("a part of a role could not be ended in order", { role: role.name, where, error: error.message });
    report.errors.push({ where, error });
  };
  const members = options.reverseOrder ? [...role.members].reverse() : [...role.members];

  const destroy = async (member: Member): Promise<void> => {
    // Without an engine nothing runs there but the server itself.
    if (!member.hasEngine) return;
    try {
      await askServer(member.server, "destroy", [options.destroyTimeoutMs], options.destroyTimeoutMs + STOP_MARGIN_MS);
      report.destroyed.push(member.id);
    } catch (error) {
      // Who is gone already needs no end; anybody else goes without.
      if (isGone(error)) return;
      report.killed.push(member.id);
      failed(member.id, error);
    }
  };
  const end = async (member: Member): Promise<void> => {
    const straggler = report.killed.includes(member.id);
    const graceMs = straggler ? 0 : member.spec.graceMs;
    try {
      if (member.hasEngine) leftovers += (await stop(member.server, graceMs)).left;
    } catch (error) {
      if (!straggler && !isGone(error)) failed(member.id, error);
    }
    await member.server.kill().catch((error: unknown) => failed(member.id, error));
  };

  const startedAtMs = clock.now();
  await Promise.all(members.map(destroy));
  const last = options.reverseOrder ? members.slice(-1) : [];
  await Promise.all(members.filter((member) => !last.includes(member)).map(end));
  await Promise.all(last.map(end));
  for (const group of role.groups) {
    await group.remove().then(
      () => groupsRemoved++,
      (error: unknown) => failed(group.id, error),
    );
  }
  logger.info("role ended", {
    role: role.name,
    workers: members.length,
    tookMs: Math.round(clock.now() - startedAtMs),
  });
  return { ...report, leftovers, groupsRemoved };
}

async function stop(server: ServerHandle, graceMs: number): Promise<ServerStopped> {
  return (await askServer(server, "stop", [graceMs], graceMs + 2 * STOP_MARGIN_MS)) as ServerStopped;
}

function isGone(error: unknown): boolean {
  return error instanceof WhiprayError && ["ACTOR_DIED", "WORKER_CRASHED", "NODE_DIED"].includes(error.code);
}
