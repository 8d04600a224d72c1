import type { MemoryMachine } from "../probe-memory.ts";

const BUSES = ["C1", "C2", "81", "82", "01", "02", "41", "42"];
/** Two NPUs a NUMA node, which are not numbered in the order of the NPUs. */
const PLACES = [
  { numaNode: 6, cpus: "144-167" },
  { numaNode: 4, cpus: "96-119" },
  { numaNode: 0, cpus: "0-23" },
  { numaNode: 2, cpus: "48-71" },
];
const LINE = "+===========================+===============+====================================================+";
const HEADER = `| npu-smi 24.1.rc2                 Version: 24.1.rc2                                             |
+---------------------------+---------------+----------------------------------------------------+
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip                      | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
${LINE}`;
const NO_PROCESSES = `| NPU     Chip              | Process id    | Process name             | Process memory(MB)      |
${LINE}
`;

/** What a machine with up to eight 910B3 in a full HCCS mesh answers, in the form that npu-smi prints. */
export function ascend910b3Machine(count: number): MemoryMachine {
  const numbers = Array.from({ length: count }, (_, number) => number);
  const table = [HEADER, ...numbers.map(row), `${NO_PROCESSES}`].join("\n");
  const map = [
    "\tNPU ID                         Chip ID                        Chip Logic ID                  Chip Name",
  ];
  for (const number of numbers) {
    map.push(`\t${cell(number, 31)}${cell(0, 31)}${cell(number, 31)}Ascend 910B3`);
    map.push(`\t${cell(number, 31)}${cell(1, 31)}${cell("-", 31)}Mcu`);
  }
  const matrix = [
    `\t   ${numbers.map((number) => cell(`NPU${number}`, 11)).join("")}CPU Affinity`,
    ...numbers.map((from) => {
      const cells = numbers.map((to) => cell(to === from ? "X" : "HCCS", 11));
      return `${cell(`NPU${from}`, 11)}${cells.join("")}${PLACES[Math.floor(from / 2)]!.cpus}`;
    }),
  ];
  return {
    tools: {
      "npu-smi": (args) => {
        if (args.includes("topo")) return `${matrix.join("\n")}\n`;
        return args.includes("-m") ? `${map.join("\n")}\n` : table;
      },
    },
    folders: { "/dev": [...numbers.map((number) => `davinci${number}`), "davinci_manager", "devmm_svm", "hisi_hdc"] },
    files: Object.fromEntries(
      numbers.map((number) => [
        `/sys/bus/pci/devices/0000:${BUSES[number]!.toLowerCase()}:00.0/numa_node`,
        `${PLACES[Math.floor(number / 2)]!.numaNode}\n`,
      ]),
    ),
  };
}

function cell(text: string | number, width: number): string {
  return String(text).padEnd(width);
}

function row(number: number): string {
  const power = cell(`${92 + number}.${number}`, 12);
  return `| ${cell(number, 6)}910B3               | OK            | ${power}${cell(40 + number, 18)}0    / 0             |
| 0                         | 0000:${BUSES[number]}:00.0  | 0           0    / 0          33${10 + number} / 65536         |
${LINE}`;
}
