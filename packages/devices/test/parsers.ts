import type { ToolOutput } from "../src/tool-row.ts";
import { parseTopologyMatrix } from "../src/topology-matrix.ts";
import { AMD, parseAmdSmiList, parseAmdSmiTopology } from "../src/vendors/amd.ts";
import { parseSystemProfiler } from "../src/vendors/apple.ts";
import { parseCnmon } from "../src/vendors/cambricon.ts";
import { parseFuriosaSmi } from "../src/vendors/furiosa.ts";
import { parseHlQuery, parseHlTable } from "../src/vendors/gaudi.ts";
import { HYGON } from "../src/vendors/hygon.ts";
import { parseIxsmi } from "../src/vendors/iluvatar.ts";
import { parseXpuDiscovery } from "../src/vendors/intel-gpu.ts";
import { parseMxList, parseMxTable } from "../src/vendors/metax.ts";
import { parseMthreadsGmi } from "../src/vendors/moore-threads.ts";
import { parseNeuronLs } from "../src/vendors/neuron.ts";
import { parseRblnSmi } from "../src/vendors/rebellions.ts";
import { parseRocmSmi } from "../src/vendors/rocm-output.ts";
import { WarningList } from "../src/warning-list.ts";

/** Every parser that makes rows, by a name for people. */
export const rowParsers: Readonly<Record<string, (text: string) => ToolOutput>> = {
  "rocm-smi": (text) => parseRocmSmi(text, AMD),
  "hy-smi": (text) => parseRocmSmi(text, HYGON),
  "amd-smi list": parseAmdSmiList,
  "xpu-smi discovery": parseXpuDiscovery,
  "hl-smi -Q": (text) => parseHlQuery(text),
  "hl-smi": parseHlTable,
  "mx-smi -L": parseMxList,
  "mx-smi": parseMxTable,
  "mthreads-gmi": parseMthreadsGmi,
  cnmon: parseCnmon,
  ixsmi: parseIxsmi,
  "rbln-smi": parseRblnSmi,
  "furiosa-smi info": parseFuriosaSmi,
  "neuron-ls": parseNeuronLs,
  system_profiler: parseSystemProfiler,
};

/** Every parser of links: pairs of names that must come from the text. */
export const linkParsers: Readonly<
  Record<string, (text: string) => readonly { from: string | number; to: string | number }[]>
> = {
  "nvidia-smi topo": (text) => parseTopologyMatrix(text, /^GPU\d{1,4}$/, new WarningList())?.links ?? [],
  "npu-smi topo": (text) => parseTopologyMatrix(text, /^(NPU|Phy-ID)\d{1,4}$/, new WarningList())?.links ?? [],
  "amd-smi topology": (text) => parseAmdSmiTopology(text, new WarningList()),
};
