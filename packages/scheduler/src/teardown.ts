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
  for (const member of role.members) if (member.runningServer) member.runningServer.stopped = true;
  const members = role.members.flatMap(endingsOf);
  if (options.reverseOrder) members.reverse();

  const destroy = async ({ id, server, hasEngine }: Ending): Promise<void> => {
    // Without an engine nothing runs there but the server itself.
    if (!hasEngine) return;
    try {
      await askServer(server, "destroy", [options.destroyTimeoutMs], options.destroyTimeoutMs + STOP_MARGIN_MS);
      report.destroyed.push(id);
    } catch (error) {
      // Who is gone already needs no end; anybody else goes without.
      if (isGone(error)) return;
      report.killed.push(id);
      failed(id, error);
    }
  };
  const end = async ({ id, server, hasEngine, graceMs }: Ending): Promise<void> => {
    const straggler = report.killed.includes(id);
    try {
      if (hasEngine) leftovers += (await stop(server, straggler ? 0 : graceMs)).left;
    } catch (error) {
      if (!straggler && !isGone(error)) failed(id, error);
    }
    await server.kill().catch((error: unknown) => failed(id, error));
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
    workers: role.members.length,
    tookMs: Math.round(clock.now() - startedAtMs),
  });
  return { ...report, leftovers, groupsRemoved };
}

/** A server that ends: a member's own, and those of its launchers. */
type Ending = Pick<Member, "id" | "server" | "hasEngine"> & { readonly graceMs: number };

function endingsOf(member: Member): Ending[] {
  return [member, ...member.launchers].map(({ id, server, hasEngine }) => {
    return { id, server, hasEngine, graceMs: member.spec.graceMs };
  });
}

async function stop(server: ServerHandle, graceMs: number): Promise<ServerStopped> {
  return (await askServer(server, "stop", [graceMs], graceMs + 2 * STOP_MARGIN_MS)) as ServerStopped;
}

function isGone(error: unknown): boolean {
  return error instanceof WhiprayError && ["ACTOR_DIED", "WORKER_CRASHED", "NODE_DIED"].includes(error.code);
}
