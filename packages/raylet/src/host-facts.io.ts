import { readFileSync } from "node:fs";
import { availableParallelism, freemem, hostname, networkInterfaces } from "node:os";
import { cgroupLimits, type HostFacts } from "./host-facts.ts";

/** Looks at this machine once, at a raylet's start. `ip` wins over the address that was found. */
export function readHostFacts(ip?: string): HostFacts {
  const limits = cgroupLimits(readText);
  const cores = availableParallelism();
  const leftBytes = (limits.memoryBytes ?? Infinity) - (limits.memoryUsedBytes ?? 0);
  return {
    hostname: hostname(),
    cpus: Math.min(cores, Math.max(1, Math.ceil(limits.cpus ?? cores))),
    // On Linux this is MemAvailable: what programs can have without swapping.
    memoryBytes: Math.max(0, Math.floor(Math.min(freemem(), leftBytes))),
    ip: ip ?? firstAddress(),
    cgroup: limits.version,
  };
}

/**
 * The machine in words, for logs and reports: processor, system, memory. It takes tenths of a second and starts programs, so nothing waits
 * for it; and it is loaded late, since most processes never ask.
 */
export async function describeMachine(): Promise<Record<string, string | number>> {
  const { cpu, mem, osInfo } = await import("systeminformation");
  const [processor, memory, os] = await Promise.all([cpu(), mem(), osInfo()]);
  return {
    processor: `${processor.manufacturer} ${processor.brand}`.trim(),
    cores: processor.cores,
    memoryBytes: memory.total,
    os: `${os.distro} ${os.release}, kernel ${os.kernel}`,
  };
}

/** The first address that is not loopback, IPv4 before IPv6; loopback on a machine without a network. */
function firstAddress(): string {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  const outside = all.filter((address) => !address.internal && !address.address.startsWith("fe80:"));
  return (outside.find(({ family }) => family === "IPv4") ?? outside[0])?.address ?? "127.0.0.1";
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
