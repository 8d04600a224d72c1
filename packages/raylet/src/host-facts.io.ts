import { readFileSync } from "node:fs";
import { availableParallelism, networkInterfaces } from "node:os";
import { mem, osInfo } from "systeminformation";
import { cgroupLimits, type HostFacts } from "./host-facts.ts";

/** Looks at this machine once, at a raylet's start. `ip` wins over the address that was found. */
export async function readHostFacts(ip?: string): Promise<HostFacts> {
  const [memory, os] = await Promise.all([mem(), osInfo()]);
  const limits = cgroupLimits(readText);
  const cores = availableParallelism();
  const leftBytes = (limits.memoryBytes ?? Infinity) - (limits.memoryUsedBytes ?? 0);
  return {
    hostname: os.hostname,
    cpus: Math.min(cores, Math.max(1, Math.ceil(limits.cpus ?? cores))),
    memoryBytes: Math.max(0, Math.floor(Math.min(memory.available, leftBytes))),
    ip: ip ?? firstAddress(),
    os: `${os.distro} ${os.release}, kernel ${os.kernel}`,
    cgroup: limits.version,
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
