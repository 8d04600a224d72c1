import type { MemoryMachine } from "../probe-memory.ts";

/** Two GPUs a socket pair are bridged, the first half of the GPUs lies on NUMA node 0, the second on node 1. */
const BUSES = ["1b", "43", "52", "61", "9d", "c3", "d1", "df"];
const COLUMNS =
  "index, uuid, name, memory.total [MiB], driver_version, pci.bus_id, mig.mode.current, " +
  "ecc.errors.uncorrected.volatile.total, utilization.gpu [%], memory.used [MiB], temperature.gpu, power.draw [W]";

/** What a machine with up to eight H100 in NVLink pairs answers, in the form that nvidia-smi prints. */
export function h100Machine(node: string, count: number): MemoryMachine {
  const places = Array.from({ length: count }, (_, index) => index);
  const near = (one: number, other: number) => Math.floor((one * 2) / count) === Math.floor((other * 2) / count);
  const table = [COLUMNS, ...places.map((index) => row(node, index))].join("\n");
  const matrix = [
    `\t${places.map((index) => `GPU${index}`).join("\t")}\tCPU Affinity\tNUMA Affinity\tGPU NUMA ID`,
    ...places.map((from) => {
      const cells = places.map((to) => {
        if (to === from) return " X ";
        return Math.floor(to / 2) === Math.floor(from / 2) ? "NV18" : near(from, to) ? "NODE" : "SYS";
      });
      return `GPU${from}\t${cells.join("\t")}\t${near(0, from) ? "0-55,112-167\t0" : "56-111,168-223\t1"}\t\tN/A`;
    }),
  ].join("\n");
  const processes = "gpu_uuid, pid, used_gpu_memory [MiB], process_name\n";
  return {
    tools: {
      "nvidia-smi": ([first]) => {
        if (first === "topo") return `${matrix}\n`;
        return first?.startsWith("--query-compute-apps") ? processes : `${table}\n`;
      },
    },
    folders: { "/dev": [...places.map((index) => `nvidia${index}`), "nvidiactl", "nvidia-uvm"] },
  };
}

function row(node: string, index: number): string {
  const uuid = `GPU-fake-${node}-${index}`;
  const now = `0 %, 4 MiB, ${31 + index} C, ${68 + index}.20 W`;
  return `${index}, ${uuid}, NVIDIA H100 80GB HBM3, 81559 MiB, 570.86.15, 00000000:${BUSES[index]!.toUpperCase()}:00.0, Disabled, 0, ${now}`;
}
