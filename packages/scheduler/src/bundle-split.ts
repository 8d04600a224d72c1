import type { ResourceAmounts } from "@whipray/core";
import { amountsOf } from "./amounts.ts";
import { invalid } from "./errors.ts";
import type { FullSpec } from "./job.ts";

/**
 * Bundles of one deferred worker: whole nodes and a rest (AReaL R1: `_create_bundle_specs_split`). CPUs and memory go with the
 * devices, rounded; the last bundle takes what remains, so that the sum is exact.
 */
export function splitBundles(spec: FullSpec, nGpusPerNode: number, device: string): ResourceAmounts[] {
  const { cpu, gpu, mem } = spec;
  if (!Number.isSafeInteger(nGpusPerNode) || nGpusPerNode < 1) {
    throw invalid(`nGpusPerNode must be a whole number of 1 or more; got ${nGpusPerNode}`);
  }
  if (gpu <= nGpusPerNode) return [amountsOf(spec, device)];
  if (!Number.isSafeInteger(gpu)) throw invalid(`gpu must be a whole number above ${nGpusPerNode}; got ${gpu}`);
  const devices = Array.from({ length: Math.floor(gpu / nGpusPerNode) }, () => nGpusPerNode);
  if (gpu % nGpusPerNode > 0) devices.push(gpu % nGpusPerNode);
  let cpuLeft = cpu;
  let memLeft = mem;
  return devices.map((count, index) => {
    const last = index === devices.length - 1;
    const share = count / gpu;
    const cpuHere = last ? cpuLeft : Math.min(cpuLeft, Math.round(cpu * share));
    const memHere = last ? memLeft : Math.min(memLeft, Math.round(mem * share));
    cpuLeft -= cpuHere;
    memLeft -= memHere;
    return amountsOf({ ...spec, cpu: cpuHere, gpu: count, mem: memHere }, device);
  });
}
