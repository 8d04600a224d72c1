import type { Device } from "./device.ts";
import type { Probe } from "./probe.ts";

const PCI_ADDRESS = /^([0-9a-f]{4,8}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])$/;
const CPU_LIST = /^\d{1,5}(-\d{1,5})?(,\d{1,5}(-\d{1,5})?){0,255}$/;

/** A PCI address in the kernel's form `dddd:bb:dd.f`; tools print upper case and domains of eight digits. */
export function pciAddressOf(text: string | undefined): string | undefined {
  const match = PCI_ADDRESS.exec(text?.trim().toLowerCase() ?? "");
  if (!match) return undefined;
  const domain = Number.parseInt(match[1]!, 16).toString(16).padStart(4, "0");
  return `${domain}:${match[2]}:${match[3]}.${match[4]}`;
}

/**
 * Where a PCI device lies, from sysfs, which cannot hang as a tool can: NUMA node (absent when the kernel says −1) and the
 * CPUs next to it.
 */
export async function placeOf(
  probe: Probe,
  pciAddress: string | undefined,
): Promise<Pick<Device, "pciAddress" | "numaNode" | "cpuAffinity">> {
  if (pciAddress === undefined) return {};
  const folder = `/sys/bus/pci/devices/${pciAddress}`;
  const [node, cpus] = await Promise.all([probe.read(`${folder}/numa_node`), probe.read(`${folder}/local_cpulist`)]);
  const numaNode = node?.trim();
  const cpuAffinity = cpus?.trim();
  return {
    pciAddress,
    ...(numaNode !== undefined && /^\d{1,4}$/.test(numaNode) && { numaNode: Number(numaNode) }),
    ...(cpuAffinity !== undefined && CPU_LIST.test(cpuAffinity) && { cpuAffinity }),
  };
}
