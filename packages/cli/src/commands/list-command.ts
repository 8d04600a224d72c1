import { actorsList, groupTable, nodesList, tasksList } from "@whipray/rpc";
import { actorStatus, groupStatus, nodeStatus } from "../cluster-status.ts";
import { table } from "../table.ts";
import { askHead } from "./ask-head.io.ts";
import type { AskFlags, CommandContext } from "./command-context.ts";
import { eventsCommand } from "./events-command.ts";

export const LISTED = ["actors", "nodes", "placement-groups", "tasks", "cluster-events"] as const;
/** Ray: limit of `ray list`. */
export const LISTED_EVENTS = 100;
/** Rows of tasks that are shown. */
const TASKS_SHOWN = 10_000;
export type Listed = (typeof LISTED)[number];

/** `whipray list …`: every row that the head has, ended ones too; of events the latest (Ray: `ray list`). */
export async function listCommand(what: Listed, flags: AskFlags, context: CommandContext): Promise<void> {
  if (what === "cluster-events") return eventsCommand({ ...flags, limit: LISTED_EVENTS }, context);
  await using head = await askHead(flags, context);
  const { output } = context;
  if (what === "nodes") {
    const [found, { groups }, { actors }] = await Promise.all([
      head.ask(nodesList, {}),
      head.ask(groupTable, {}),
      head.ask(actorsList, {}),
    ]);
    const nodes = found.nodes.map((node) => nodeStatus(node, groups, actors));
    if (flags.json) return output.json({ nodes });
    const rows = nodes.map(({ id, name, state, ip, reach, pid, deathReason }) => [
      id,
      name,
      state,
      ip,
      reach,
      String(pid),
      deathReason ?? "",
    ]);
    return print(table(["ID", "NAME", "STATE", "IP", "REACH", "PID", "WHY"], rows));
  }
  if (what === "actors") {
    const actors = (await head.ask(actorsList, {})).actors.map(actorStatus);
    if (flags.json) return output.json({ actors });
    const rows = actors.map(({ id, name, className, state, nodeId, pid, reason }) => [
      id,
      name ?? "-",
      className,
      state,
      nodeId ?? "-",
      String(pid ?? "-"),
      reason ?? "",
    ]);
    return print(table(["ID", "NAME", "CLASS", "STATE", "NODE", "PID", "WHY"], rows));
  }
  if (what === "tasks") {
    const { tasks, total, left } = await head.ask(tasksList, { limit: TASKS_SHOWN });
    if (flags.json) return output.json({ tasks, total, left });
    const rows = tasks.map(({ taskId, name, state, nodeId, attempt, error }) => [
      ...[taskId, name, state, nodeId ?? "-", String(attempt)],
      error ?? "",
    ]);
    return print(table(["ID", "NAME", "STATE", "NODE", "ATTEMPT", "WHY"], rows));
  }
  const placementGroups = (await head.ask(groupTable, {})).groups.map(groupStatus);
  if (flags.json) return output.json({ placementGroups });
  const rows = placementGroups.map(({ id, name, state, strategy, bundles, reasons }) => [
    id,
    name ?? "-",
    state,
    strategy,
    String(bundles),
    reasons.join("; "),
  ]);
  print(table(["ID", "NAME", "STATE", "STRATEGY", "BUNDLES", "WHY"], rows));

  function print(lines: readonly string[]): void {
    for (const line of lines) output.data(line);
  }
}
