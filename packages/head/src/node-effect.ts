import type { Withheld } from "@whipray/rpc";

/** What somebody has to do after an event. */
export type NodeEffect =
  | { kind: "save"; nodeId: string }
  | { kind: "forget"; nodeId: string }
  /** Look whether the raylet's process is there; the answer comes back through `probed`. */
  | { kind: "probe"; nodeId: string; inc: string }
  | { kind: "suspect"; nodeId: string; reason: string }
  | { kind: "alive"; nodeId: string }
  /** Its work is given away; `left`: on purpose. */
  | { kind: "dead"; nodeId: string; epoch: number; reason: string; left: boolean }
  /** A device is not offered (any more) for this reason, or is again. For people. */
  | { kind: "device"; nodeId: string; device: string; withheld: Withheld | undefined };

/** What a look at a raylet's port or pid found. `unknown`: no answer either way, as in a partition. */
export type ProbeAnswer = "there" | "gone" | "unknown";
