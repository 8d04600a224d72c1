import type { Probe } from "./probe.ts";

const PCI_ADDRESS = /^([0-9a-f]{4,8}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])$/;

/** A PCI address in the kernel's form `dddd:bb:dd.f`; tools print upper case and domains of eight digits. */
export function pciAddressOf(text: string | undefined): string | undefined {
  const match = PCI_ADDRESS.exec(text?.trim().toLowerCase() ?? "");
  if (!match) return undefined;
  const domain = Number.parseInt(match[1]!, 16).toString(16).padStart(4, "0");
  return `${domain}:${match[2]}:${match[3]}.${match[4]}`;
}

/** NUMA node of a PCI device from sysfs, which cannot hang as a tool can. Undefined when the kernel says −1 or nothing. */
export async function numaNodeOf(probe: Probe, pciAddress: string): Promise<number | undefined> {
  const text = (await probe.read(`/sys/bus/pci/devices/${pciAddress}/numa_node`))?.trim();
  return text !== undefined && /^\d{1,4}$/.test(text) ? Number(text) : undefined;
}
