import { WhiprayError } from "@whipray/core";
import type { NodeView } from "@whipray/rpc";
import type { NodeRecord } from "./node-record.ts";

type Known = Pick<NodeRecord, "nodeId" | "devices" | "total">;

/** What in a view cannot be true of its node: a device that it never had, more free than there is. Undefined when nothing is. */
export function falsehoodOf({ devices, total }: Known, view: NodeView): string | undefined {
  const known = new Set(devices.map(({ uuid }) => uuid));
  for (const uuid of [...Object.keys(view.devices), ...Object.keys(view.withheld ?? {})]) {
    if (!known.has(uuid)) return `its view names device ${uuid}, which it never had`;
  }
  for (const [name, free] of Object.entries(view.free)) {
    const most = total[name] ?? 0;
    if (free > most) return `its view has ${free} units of ${name} free, of ${most}`;
  }
  return undefined;
}

/** @throws WhiprayError `INVALID_VIEW` for a view that cannot be true (reliability B38). */
export function requireTrue(node: Known, view: NodeView): void {
  const falsehood = falsehoodOf(node, view);
  if (falsehood === undefined) return;
  throw new WhiprayError({
    code: "INVALID_VIEW",
    message: `node ${node.nodeId}: ${falsehood}; it gets nothing new until it tells a view that can be true`,
    details: { nodeId: node.nodeId, version: view.version },
  });
}
