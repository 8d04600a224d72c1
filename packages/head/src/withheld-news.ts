import type { NodeView, Withheld } from "@whipray/rpc";
import type { NodeEffect } from "./node-effect.ts";

/** What a node's new view says of devices that are offered no more, or again. */
export function withheldNews(nodeId: string, before: NodeView | undefined, now: NodeView): NodeEffect[] {
  const old = new Map<string, Withheld>(Object.entries(before?.withheld ?? {}));
  const next = new Map<string, Withheld>(Object.entries(now.withheld ?? {}));
  return [...new Set([...old.keys(), ...next.keys()])].flatMap((device): NodeEffect[] => {
    const withheld = next.get(device);
    // A reason that only says more of the same is none.
    return old.get(device)?.kind === withheld?.kind ? [] : [{ kind: "device", nodeId, device, withheld }];
  });
}
