import { WhiprayError } from "@whipray/core";
import type { SchedulerCluster } from "./cluster.ts";
import { PortAllocationError, WorkerTimeoutError } from "./errors.ts";
import { deathOf } from "./failures.ts";
import type { Member } from "./role.ts";
import { askServer } from "./server-calls.ts";
import type { Worker } from "./worker.ts";

const LATE = new Set(["DEADLINE_EXCEEDED", "TIMEOUT"]);
/** For the small calls of a server that is up. */
const CONTROL_TIMEOUT_MS = 30_000;

/**
 * Waits until a member's server is up, and describes it. @throws WorkerFailedError at once when it died, WorkerTimeoutError with
 * what it waits for (areal 6.7).
 */
export async function readyWorker(
  cluster: SchedulerCluster,
  role: string,
  member: Member,
  timeoutMs: number,
  limits: { totalMs: number; signal?: AbortSignal | undefined },
): Promise<Worker> {
  const { signal } = limits;
  try {
    const servers = [member.server, ...member.launchers.map((launcher) => launcher.server)];
    const options = { timeoutMs: Math.max(1, timeoutMs), ...(signal && { signal }) };
    await Promise.all(servers.map((server) => server.ready(options)));
  } catch (error) {
    const died = deathOf(member.id, error);
    if (died) throw died;
    if (error instanceof WhiprayError && LATE.has(error.code)) {
      const row = await member.server.row().catch(() => undefined);
      const reason = row?.waiting ?? (row && `${member.id} is ${row.state}`);
      throw new WorkerTimeoutError(role, limits.totalMs, { cause: error, ...(reason !== undefined && { reason }) });
    }
    throw error;
  }
  if (member.hasEngine) await checkEngine(member);
  member.worker ??= describe(cluster, member).catch((error: unknown) => {
    member.worker = undefined;
    throw deathOf(member.id, error) ?? error;
  });
  return member.worker;
}

// The server is up; its engine may be gone. One that does not answer is busy or starting, not dead.
async function checkEngine(member: Member): Promise<void> {
  try {
    await askServer(member.server, "health", [], CONTROL_TIMEOUT_MS);
  } catch (error) {
    const died = deathOf(member.id, error);
    if (died) throw died;
  }
}

async function describe(cluster: SchedulerCluster, member: Member): Promise<Worker> {
  const { portCount } = member.spec;
  const ports: Record<string, number[]> = {};
  if (portCount > 1) ports["master"] = (await leasePorts(member, "master", 1)).ports;
  if (portCount > 2) ports["extra"] = (await leasePorts(member, "extra", portCount - 2)).ports;
  const [row, nodes] = await Promise.all([member.server.row(), cluster.nodes()]);
  const nodeId = row.nodeId ?? member.slot.nodeId;
  const leased = Object.values(ports).flat().map(String);
  return {
    id: member.id,
    ip: nodes.find((node) => node.nodeId === nodeId)?.ip ?? "127.0.0.1",
    workerPorts: portCount > 0 ? ["0", ...leased] : [],
    enginePorts: [],
    ports,
    nodeId,
    devices: row.devices,
  };
}

/** Ports of a member's node, held under a name until it ends. @throws PortAllocationError when none are left. */
export async function leasePorts(
  member: Pick<Member, "server">,
  name: string,
  count: number,
): Promise<{ ports: number[]; ip: string }> {
  try {
    const leased = await askServer(member.server, "allocPorts", [name, count], CONTROL_TIMEOUT_MS);
    return leased as { ports: number[]; ip: string };
  } catch (error) {
    if (error instanceof WhiprayError && /^PORT/.test(error.code)) {
      throw new PortAllocationError(error.message, { cause: error });
    }
    throw error;
  }
}
