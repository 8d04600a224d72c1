import { byteSize } from "../byte-size.ts";
import type { DeviceProcess } from "../device.ts";
import { DEVICE_LIMIT, toolLines, wholeNumber } from "../tool-lines.ts";
import type { WarningList } from "../warning-list.ts";
import { parseXml, type XmlNode } from "../xml-tree.ts";

/** One MIG device as `nvidia-smi -q -x` describes it: without its UUID, by its place on the GPU. */
export interface MigPlace {
  readonly gpuUuid: string;
  /** Counts anew on each GPU, in the order of `nvidia-smi -L`. */
  readonly index: number;
  readonly gpuInstance: number;
  readonly computeInstance: number;
  readonly memoryBytes?: number;
  readonly memoryUsedBytes?: number;
  readonly eccErrors?: number;
}

/** A process with the part of the GPU that it uses. */
export interface MigProcess extends Omit<DeviceProcess, "uuid"> {
  readonly gpuUuid: string;
  readonly gpuInstance?: number;
  readonly computeInstance?: number;
}

/** Reads `nvidia-smi -q -x`: MIG devices and processes. Never throws, never resolves the DTD. */
export function parseNvidiaXml(
  text: string,
  warnings: WarningList,
): { migs: readonly MigPlace[]; processes: readonly MigProcess[] } {
  const gpus = parseXml(text, warnings)
    .all("nvidia_smi_log")
    .flatMap((log) => log.all("gpu"));
  const known = gpus.filter((gpu) => /^GPU-[\w-]{4,64}$/.test(gpu.at("uuid") ?? "")).slice(0, DEVICE_LIMIT);
  return { migs: known.flatMap(migsOf).slice(0, DEVICE_LIMIT), processes: known.flatMap(processesOf) };
}

function migsOf(gpu: XmlNode): MigPlace[] {
  const gpuUuid = gpu.at("uuid")!;
  return gpu
    .all("mig_devices")
    .flatMap((list) => list.all("mig_device"))
    .flatMap((mig) => {
      const index = wholeNumber(mig.at("index"));
      const gpuInstance = wholeNumber(mig.at("gpu_instance_id"));
      const computeInstance = wholeNumber(mig.at("compute_instance_id"));
      if (index === undefined || gpuInstance === undefined || computeInstance === undefined) return [];
      const memoryBytes = byteSize(mig.at("fb_memory_usage", "total"));
      const memoryUsedBytes = byteSize(mig.at("fb_memory_usage", "used"));
      const eccErrors = wholeNumber(mig.at("ecc_error_count", "volatile_count", "sram_uncorrectable"));
      return [
        {
          ...{ gpuUuid, index, gpuInstance, computeInstance },
          ...(memoryBytes !== undefined && { memoryBytes }),
          ...(memoryUsedBytes !== undefined && { memoryUsedBytes }),
          ...(eccErrors !== undefined && { eccErrors }),
        },
      ];
    });
}

function processesOf(gpu: XmlNode): MigProcess[] {
  return gpu
    .all("processes")
    .flatMap((list) => list.all("process_info"))
    .flatMap((process) => {
      const pid = wholeNumber(process.at("pid"));
      if (pid === undefined) return [];
      const gpuInstance = wholeNumber(process.at("gpu_instance_id"));
      const computeInstance = wholeNumber(process.at("compute_instance_id"));
      const memoryUsedBytes = byteSize(process.at("used_memory"));
      const name = process.at("process_name");
      return [
        {
          ...{ gpuUuid: gpu.at("uuid")!, pid },
          ...(gpuInstance !== undefined && { gpuInstance }),
          ...(computeInstance !== undefined && { computeInstance }),
          ...(memoryUsedBytes !== undefined && { memoryUsedBytes }),
          ...(name && { name: name.slice(0, 256) }),
        },
      ];
    });
}

/** Error numbers that call for a quarantine: memory errors, a GPU off the bus (reliability 7.2, item 7). */
const GRAVE_XIDS: ReadonlySet<number> = new Set([48, 63, 79, 94, 95]);
const XID_LINE = /NVRM: Xid \(PCI:([0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2})(?:\.[0-7])?\): (\d{1,4}),/i;

/** PCI address without function → grave Xids, from the kernel's log. Never throws. */
export function parseXids(text: string, warnings: WarningList): ReadonlyMap<string, readonly number[]> {
  const found = new Map<string, number[]>();
  for (const line of toolLines(text, warnings)) {
    const match = XID_LINE.exec(line);
    const xid = Number(match?.[2]);
    if (!match || !GRAVE_XIDS.has(xid)) continue;
    const [domain, bus, slot] = match[1]!.toLowerCase().split(":");
    const address = `${Number.parseInt(domain!, 16).toString(16).padStart(4, "0")}:${bus}:${slot}`;
    const known = found.get(address) ?? [];
    if (!known.includes(xid) && found.size < DEVICE_LIMIT) found.set(address, [...known, xid]);
  }
  return found;
}
