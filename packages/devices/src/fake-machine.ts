import { createHash } from "node:crypto";
import { WhiprayError } from "@whipray/core";
import { ascend910b3Machine } from "./fake-machines/ascend-910b3.ts";
import { h100Machine } from "./fake-machines/h100.ts";
import type { Probe } from "./probe.ts";
import { type MemoryMachine, memoryProbe } from "./probe-memory.ts";

const NAME_LIMIT_CHARS = 32;

/** Fake machines by name: what their tools print, with the node's name in the identities. */
const MACHINES: Readonly<Record<string, (node: string) => MemoryMachine>> = {
  "8xH100": (node) => h100Machine(node, 8),
  "8x910B3": () => ascend910b3Machine(8),
  mixed: (node) => beside(h100Machine(node, 4), ascend910b3Machine(4)),
};

/** What `--fake-devices` takes. */
export const fakeMachineNames: readonly string[] = Object.keys(MACHINES);

/**
 * A machine for trying out: its accelerators exist in the answers of its tools alone, which the vendors' real parsers read.
 * Identities and locks carry `machine`, so that two fake nodes on one host do not collide.
 * - `8xH100`: NVLink pairs 0-1, 2-3, 4-5, 6-7; GPUs 0–3 on NUMA node 0, 4–7 on node 1.
 * - `8x910B3`: all eight joined by HCCS, two on each of four NUMA nodes.
 * - `mixed`: four H100 and four 910B3.
 * @param machine the node's name.
 * @throws WhiprayError `UNKNOWN_FAKE_MACHINE` with the names that there are.
 */
export function fakeMachine(name: string, machine: string): Probe {
  if (!Object.hasOwn(MACHINES, name)) {
    throw new WhiprayError({
      code: "UNKNOWN_FAKE_MACHINE",
      message: `there is no fake machine "${name.slice(0, 64)}"; there are ${fakeMachineNames.join(", ")}`,
      details: { name: name.slice(0, 64), names: fakeMachineNames },
    });
  }
  return memoryProbe({ ...MACHINES[name]!(plainName(machine)), machine, imagined: true });
}

/** The name as a part of a UUID; names that would meet are kept apart by a digest. */
function plainName(name: string): string {
  const plain = name.replace(/[^0-9A-Za-z-]+/g, "-").slice(0, NAME_LIMIT_CHARS);
  return plain === name ? plain : `${plain}-${createHash("sha256").update(name).digest("hex").slice(0, 12)}`;
}

function beside(one: MemoryMachine, other: MemoryMachine): MemoryMachine {
  return {
    tools: { ...one.tools, ...other.tools },
    folders: { "/dev": [...(one.folders?.["/dev"] ?? []), ...(other.folders?.["/dev"] ?? [])] },
    files: { ...one.files, ...other.files },
  };
}
