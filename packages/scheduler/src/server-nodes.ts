import { invalid } from "./errors.ts";

/** Inference servers that can span several machines. */
export const SERVER_BACKENDS = ["sglang", "vllm"] as const;
export type ServerBackend = (typeof SERVER_BACKENDS)[number];

/** Python module that a further node of a server runs. */
const MODULES: Record<ServerBackend, string> = {
  sglang: "sglang.launch_server",
  vllm: "vllm.entrypoints.openai.api_server",
};

/** The back end that an engine's import path names: RemoteSGLangEngine, RemotevLLMEngine. */
export function backendOf(engine: string): ServerBackend | undefined {
  return SERVER_BACKENDS.find((backend) => engine.toLowerCase().includes(backend));
}

export interface ServerNode {
  /** 0 is the head. */
  readonly rank: number;
  readonly nodes: number;
  /** Where the nodes meet: on the head's machine. */
  readonly ip: string;
  readonly port: number;
}

/** Server arguments of one node: the user's, and what says which node of how many it is (AReaL R2). */
export function serverNodeArgs(
  backend: ServerBackend,
  args: Readonly<Record<string, unknown>>,
  { rank, nodes, ip, port }: ServerNode,
): Record<string, unknown> {
  const place = { ...args, nnodes: nodes, node_rank: rank };
  if (backend === "sglang") return { ...place, dist_init_addr: `${ip.includes(":") ? `[${ip}]` : ip}:${port}` };
  return { ...place, master_addr: ip, master_port: port, ...(rank > 0 && { headless: true }) };
}

/**
 * The command of a node that is not the head. `tp_size: 16` is `--tp-size 16`, true a flag alone, a list its values; false, null
 * and "" are left out (AReaL: `get_py_cmd`). @throws SchedulerError `INVALID_ARGUMENT` for maps and other values.
 */
export function serverCommand(
  backend: ServerBackend,
  args: Readonly<Record<string, unknown>>,
  module = MODULES[backend],
): string[] {
  const words = Object.entries(args).flatMap(([name, value]): string[] => {
    if (value === undefined || value === null || value === false || value === "") return [];
    const flag = `--${name.replaceAll("_", "-")}`;
    if (value === true) return [flag];
    return [flag, ...(Array.isArray(value) ? value : [value]).map((one) => word(name, one))];
  });
  return ["python3", "-m", module, ...words];
}

function word(name: string, value: unknown): string {
  if (typeof value === "string" || typeof value === "number" || typeof value === "bigint") return String(value);
  throw invalid(`server argument ${name.slice(0, 80)} must be text, a number, true, false or a list of these`);
}
