import type { ResourceAmounts } from "@whipray/core";
import type { FullSpec } from "./job.ts";

const GIB = 2 ** 30;

/** What a spec needs as resources of a bundle. `device` is GPU or NPU. */
export function amountsOf(spec: Pick<FullSpec, "cpu" | "gpu" | "mem" | "resources">, device: string): ResourceAmounts {
  return {
    ...spec.resources,
    ...(spec.cpu > 0 && { CPU: spec.cpu }),
    ...(spec.gpu > 0 && { [device]: spec.gpu }),
    ...(spec.mem > 0 && { memory: Math.floor(spec.mem * GIB) }),
  };
}
