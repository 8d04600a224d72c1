import { createHash } from "node:crypto";
import { type Device, lockNameOf } from "./device.ts";
import type { Probe } from "./probe.ts";

const MACHINE_LIMIT_CHARS = 100;

/**
 * Identity for a device whose own name is unique on one machine only (a PCI address, a number): two machines of one cluster
 * must not offer the same one. The lock is the machine's own and needs no more than the local name.
 * @param local such as `NPU-0-0-0` or `AMD-0000:c1:00.0`; equal on every look at this machine.
 */
export function machineIdentity(probe: Probe, local: string): Pick<Device, "uuid" | "lockName"> {
  const uuid = `${local}@${machineName(probe.machine)}`;
  return { uuid, lockName: lockNameOf(probe.imagined ? uuid : local) };
}

/** The local name again. */
export function localIdentity(uuid: string): string {
  return uuid.split("@", 1)[0]!;
}

/** A machine's name, short enough for an identity on the wire and still told from others. */
function machineName(name: string): string {
  if (name.length <= MACHINE_LIMIT_CHARS) return name;
  return `${name.slice(0, MACHINE_LIMIT_CHARS - 17)}-${createHash("sha256").update(name).digest("hex").slice(0, 16)}`;
}
