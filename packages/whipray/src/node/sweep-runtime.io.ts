import { existsSync } from "node:fs";
import { silentLogger, systemClock } from "@whipray/core";
import { ChildProcesses, type SweepReport, sweepDead } from "@whipray/raylet";

/** Ends what dead raylets of this runtime directory left, processes first, then their folders. Living ones are not touched. */
export async function sweepRuntime(root: string): Promise<SweepReport> {
  if (!existsSync(root)) return { nodes: [], killed: 0, stuck: [] };
  return sweepDead(root, new ChildProcesses(systemClock), silentLogger);
}
