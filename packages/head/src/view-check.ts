import { UNITS_PER_ONE, WhiprayError } from "@whipray/core";
import type { NodeView } from "@whipray/rpc";
import type { NodeRecord } from "./node-record.ts";
import { isDeviceResource } from "./placement/devices.ts";

/**
 * Why a view cannot be true: it frees what its node never had (reliability B38). Undefined for one that can. What it says is
 * handed out to others, so it is not corrected but refused.
 */
export function falseView(
  record: Pick<NodeRecord, "nodeId" | "total" | "devices">,
  view: NodeView,
): WhiprayError | undefined {
  const { nodeId, total, devices } = record;
  for (const [name, free] of Object.entries(view.free)) {
    if (isDeviceResource(name, devices)) continue;
    const most = Object.hasOwn(total, name) ? total[name]! : 0;
    if (!(free >= 0 && free <= most)) return refusal(nodeId, `${name.slice(0, 128)} free`, free, most);
  }
  const known = new Set(devices.map((device) => device.uuid));
  for (const [uuid, units] of Object.entries(view.devices)) {
    const most = known.has(uuid) ? UNITS_PER_ONE : 0;
    if (!(units >= 0 && units <= most))
      return refusal(nodeId, `units free of device ${uuid.slice(0, 128)}`, units, most);
  }
  return undefined;
}

function refusal(nodeId: string, what: string, value: number, limit: number): WhiprayError {
  return new WhiprayError({
    code: "INVALID_VIEW",
    message: `node ${nodeId} says that it has ${value} ${what}, but it has ${limit} at most; it gets nothing new until it says what can be true`,
    details: { nodeId, what, value, limit },
  });
}
