import { lockNameOf } from "../device.ts";
import type { Probe } from "../probe.ts";

const FOLDER = "/proc/driver/nvidia/gpus";
const PCI_ADDRESS = /^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f]$/i;
/** The driver writes question marks for a GPU that nobody has used yet. */
const UUID = /^GPU UUID:\s+(GPU-[0-9a-f-]{8,64})$/im;

/**
 * The locks of GPUs as the kernel's driver names them, without `nvidia-smi`: index, counted in PCI order as the tool does, → lock name.
 * Empty where the driver is not there.
 */
export async function driverLockNames(probe: Probe): Promise<Record<number, string>> {
  const { entries = [] } = await probe.list(FOLDER);
  const addresses = entries.map(({ name }) => name).filter((name) => PCI_ADDRESS.test(name));
  const names: Record<number, string> = {};
  for (const [index, address] of addresses.sort().entries()) {
    const uuid = UUID.exec((await probe.read(`${FOLDER}/${address}/information`)) ?? "")?.[1];
    if (uuid !== undefined) names[index] = lockNameOf(uuid);
  }
  return names;
}
