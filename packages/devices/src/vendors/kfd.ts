import type { Probe } from "../probe.ts";

const NODES = "/sys/class/kfd/kfd/topology/nodes";
const PROCESSES = "/sys/class/kfd/kfd/proc";
const PROCESS_LIMIT = 1_024;

/** A process on a GPU of the amdgpu driver. */
export interface KfdProcess {
  readonly pciAddress: string;
  readonly pid: number;
  readonly name?: string;
  readonly memoryUsedBytes: number;
}

/**
 * Processes that hold memory of AMD GPUs, from the driver's sysfs: rocm-smi counts the GPUs of a process, but does not say
 * which they are.
 */
export async function kfdProcesses(probe: Probe): Promise<KfdProcess[]> {
  const gpus = await gpuAddresses(probe);
  const { entries = [] } = await probe.list(PROCESSES);
  const found: KfdProcess[] = [];
  for (const { name: pid } of entries.filter(({ name }) => /^\d{1,9}$/.test(name)).slice(0, PROCESS_LIMIT)) {
    const { entries: files = [] } = await probe.list(`${PROCESSES}/${pid}`);
    for (const { name } of files) {
      const pciAddress = gpus.get(/^vram_(\d{1,9})$/.exec(name)?.[1] ?? "");
      const bytes = pciAddress && Number((await probe.read(`${PROCESSES}/${pid}/${name}`))?.trim());
      if (!pciAddress || !bytes || !Number.isSafeInteger(bytes)) continue;
      const comm = (await probe.read(`/proc/${pid}/comm`))?.trim();
      found.push({ pciAddress, pid: Number(pid), memoryUsedBytes: bytes, ...(comm && { name: comm }) });
    }
  }
  return found;
}

/** The driver's number of each GPU → PCI address. */
async function gpuAddresses(probe: Probe): Promise<Map<string, string>> {
  const { entries = [] } = await probe.list(NODES);
  const addresses = new Map<string, string>();
  for (const { name } of entries.filter((entry) => /^\d{1,4}$/.test(entry.name))) {
    const gpu = (await probe.read(`${NODES}/${name}/gpu_id`))?.trim() ?? "0";
    const properties = (await probe.read(`${NODES}/${name}/properties`)) ?? "";
    const location = Number(/^location_id (\d{1,9})$/m.exec(properties)?.[1] ?? Number.NaN);
    const domain = Number(/^domain (\d{1,9})$/m.exec(properties)?.[1] ?? 0);
    if (gpu === "0" || !Number.isInteger(location)) continue;
    const [bus, slot, place] = [location >> 8, (location >> 3) & 31, location & 7];
    addresses.set(gpu, `${hex(domain, 4)}:${hex(bus, 2)}:${hex(slot, 2)}.${place}`);
  }
  return addresses;
}

function hex(number: number, width: number): string {
  return number.toString(16).padStart(width, "0");
}
