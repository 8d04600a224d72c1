import { actorsList, groupTable, nodesList } from "@whipray/rpc";
import { type ClusterStatus, clusterStatus, showUse } from "../cluster-status.ts";
import { deviceLines } from "../device-status.ts";
import { table } from "../table.ts";
import { askHead } from "./ask-head.io.ts";
import type { AskFlags, CommandContext } from "./command-context.ts";

/** `whipray status`: nodes, what is used of what, groups with the reasons why they wait, actors. */
export async function statusCommand(flags: AskFlags, context: CommandContext): Promise<void> {
  await using head = await askHead(flags, context);
  const [{ nodes }, { groups }, { actors }] = await Promise.all([
    head.ask(nodesList, {}),
    head.ask(groupTable, {}),
    head.ask(actorsList, {}),
  ]);
  const status = clusterStatus(head.url, nodes, groups, actors);
  if (flags.json) context.output.json(status);
  else for (const line of statusLines(status, context.output.bold)) context.output.data(line);
}

/** The status for people. */
export function statusLines(status: ClusterStatus, bold: (text: string) => string): string[] {
  const { address, tls, insecurePlaintext, nodes, resources, placementGroups, actors } = status;
  const lines = [`${bold("Head")} ${address}  ${tls ? "TLS" : "plain text"}`];
  if (insecurePlaintext) lines.push("Insecure: tokens and data cross the network in plain text");
  lines.push("");
  lines.push(bold(`Nodes (${nodes.length})`));
  const nodeRows = nodes.map(({ name, id, state, ip, reach, tls: secure, deathReason, suspectReason }) => {
    const spoken = secure === undefined ? "" : secure ? ", TLS" : ", plain text";
    return [name, id, state, ip, deathReason ?? suspectReason ?? `${reach}${spoken}`];
  });
  lines.push(...table(["NAME", "ID", "STATE", "IP", "REACH"], nodeRows), "");
  lines.push(bold("Resources (used/total)"));
  const counted = Object.entries(resources).filter(([name]) => !isMarker(name));
  lines.push(...counted.map(([name, use]) => showUse(name, use)), "");
  const alive = nodes.filter(({ state }) => state !== "DEAD");
  const devices = deviceLines(alive);
  if (devices.length > 0) {
    lines.push(bold(`Devices (${alive.reduce((sum, node) => sum + node.devices.length, 0)})`), ...devices);
    for (const { name, look } of alive) if (look?.stale) lines.push(`  ${name}: of an earlier look; ${look.stale}`);
    lines.push("");
  }
  const waiting = placementGroups.filter(({ state }) => state !== "CREATED").length;
  lines.push(bold(`Placement groups (${placementGroups.length}, ${waiting} waiting)`));
  for (const { id, name, state, strategy, bundles, choices, reasons } of placementGroups) {
    const more = [...choices, ...reasons].map((line) => `  ${line}`);
    lines.push(`${name ?? id}  ${state}  ${strategy}  ${bundles} ${bundles === 1 ? "bundle" : "bundles"}`, ...more);
  }
  lines.push("", bold(`Actors (${actors.length})`));
  for (const { id, name, className, state, nodeId, pid, choice, reason } of actors) {
    const where = [nodeId ?? "-", pid ?? "-", ...(choice === undefined ? [] : [choice])];
    lines.push([name ?? id, className, state, ...where].join("  "));
    if (reason !== undefined && state !== "ALIVE") lines.push(`  ${reason}`);
  }
  return lines;
}

/** Resources that only say what a node is; Ray hides them too. They are in the JSON. */
function isMarker(name: string): boolean {
  return name.startsWith("node:") || name.startsWith("accelerator_type:");
}
