import { asWhiprayError, WhiprayError } from "@whipray/core";
import { actorsList, groupTable, nodesList } from "@whipray/rpc";
import { daemons as installed } from "whipray";
import { nodeStatus } from "../cluster-status.ts";
import { doctorLines } from "../doctor/doctor-lines.ts";
import { type ClusterReport, type DoctorReport, problemsOf, verdictOf } from "../doctor/doctor-report.ts";
import { folderReports } from "../doctor/folder-look.io.ts";
import {
  daemonsReport,
  detectionReport,
  hostReport,
  limitsReport,
  listenersReport,
} from "../doctor/machine-look.io.ts";
import { topologyReport } from "../doctor/topology-report.ts";
import { fileError } from "../file-error.ts";
import { addressOf } from "../places.io.ts";
import { askHead } from "./ask-head.io.ts";
import type { AskFlags, CommandContext } from "./command-context.ts";

export interface DoctorFlags extends AskFlags {
  fakeDevices?: string;
}

/**
 * `whipray doctor`: what is found on this machine and how, what is wrong with it, and how the cluster's devices are. Works with and
 * without a cluster. @throws WhiprayError `UNHEALTHY` after the report when something is wrong.
 */
export async function doctorCommand(flags: DoctorFlags, context: CommandContext): Promise<void> {
  const { output, places, env } = context;
  const host = await hostReport(env);
  const daemons = daemonsReport(places.daemons);
  // Whoever tries out an imagined machine wants to see that one.
  const fake = flags.fakeDevices ?? daemons.find(({ runs, fakeDevices }) => runs && fakeDevices)?.fakeDevices;
  const [found, cluster] = await Promise.all([
    detectionReport(env, host.name, fake, places.runtimeRoot),
    clusterReport(flags, context),
  ]);
  const facts = {
    ...{ version: installed.ownVersion(), at: new Date().toISOString(), host, ...found },
    ...{ limits: [...limitsReport(), ...folderReports(places)], daemons, listeners: listenersReport(daemons), cluster },
  };
  const problems = problemsOf(facts);
  const report: DoctorReport = { ...facts, problems, verdict: verdictOf(facts, problems) };
  if (flags.json) output.json(report);
  else for (const line of doctorLines(report, output.bold)) output.data(line);
  if (problems.length > 0)
    throw new WhiprayError({ code: "UNHEALTHY", message: report.verdict, details: { problems } });
}

async function clusterReport(flags: AskFlags, context: CommandContext): Promise<ClusterReport> {
  let address: string | undefined;
  try {
    address = addressOf(flags.address, context.places);
    await using head = await askHead(flags, context);
    const [{ nodes }, { groups }, { actors }] = await Promise.all([
      head.ask(nodesList, {}),
      head.ask(groupTable, {}),
      head.ask(actorsList, {}),
    ]);
    const rows = nodes.map((node) => {
      const { id, name, state, devices, look } = nodeStatus(node, groups, actors);
      return { id, name, state, devices, topology: topologyReport(node.devices, node.links), stale: look?.stale };
    });
    return { state: "up", address: shown(address), nodes: rows };
  } catch (thrown) {
    const error = asWhiprayError(thrown);
    if (error.code === "NO_ADDRESS" || (error.code === "NOT_FOUND" && flags.address === undefined)) {
      return { state: "none", nodes: [] };
    }
    const message = fileError(thrown)?.message ?? error.message;
    return {
      state: "unreachable",
      address: shown(address ?? flags.address ?? `of ${context.places.address}`),
      error: message,
      nodes: [],
    };
  }
}

/** The pin is long, and no news. */
function shown(address: string): string {
  return address.replace(/#.*/, "");
}
