import { WhiprayError, type WorkerCrashedError } from "@whipray/core";
import { decodeHostValue, type EngineSpec } from "@whipray/engine";
import { encodeValues, type IncomingCall, ObjectRefWire, type Parts, Tensor } from "@whipray/rpc";
import type { RunningEngine } from "../src/engine-slot.ts";
import { mapObjects } from "../src/tensor-tree.ts";

// biome-ignore lint/suspicious/noExplicitAny: engines of tests take what they like
type EngineClass = (args: any[], kwargs: any, host: MemoryEngine) => object;
type Method = (...args: unknown[]) => unknown;

/** Engine classes by import path, as Python modules are. */
export const engineClasses = new Map<string, EngineClass>();

interface HostRequest {
  engine: string;
  engineName: string;
  method: string;
  args?: unknown[];
  kwargs?: Record<string, unknown>;
  env: Record<string, string>;
  config: { seed?: number };
  remote?: boolean;
  local?: boolean;
  ids?: string[];
}

/** The Python engine host's in-memory twin: same methods, same codes. */
export class MemoryEngine implements RunningEngine {
  readonly engineId: string;
  readonly pid: number;
  readonly logPath = "/logs/engine.log";
  readonly spec: EngineSpec;
  readonly env: Record<string, string>;
  death: WorkerCrashedError | undefined;
  seed: number | undefined;
  stopped = false;
  readonly engines = new Map<string, object>();
  /** Every host method that ran, in order. */
  readonly ran: string[] = [];
  /** Tensors that stay here. */
  readonly tensors = new Map<string, Tensor>();
  /** Ids of each fetch. */
  readonly fetched: string[][] = [];
  #made = 0;

  readonly nodeId: string;

  constructor(spec: EngineSpec, pid: number, nodeId: string) {
    this.spec = spec;
    this.nodeId = nodeId;
    this.engineId = `engine_${pid}`;
    this.pid = pid;
    this.env = { ...spec.env };
  }

  async call(method: string, parts: Parts): Promise<Parts> {
    if (this.death) throw this.death;
    this.ran.push(method);
    const request = decodeHostValue(parts) as HostRequest;
    switch (method) {
      case "health":
        return encodeValues({ status: "healthy", engines: [...this.engines.keys()], busy: false });
      case "configure":
        if (typeof request.config.seed !== "number")
          throw coded("INVALID_ARGUMENT", "`config.seed` must be a whole number");
        this.seed = request.config.seed;
        return encodeValues({ seed: this.seed });
      case "set_env":
        if ("CUDA_VISIBLE_DEVICES" in request.env) throw coded("INVALID_ENV", "is fixed when the interpreter starts");
        Object.assign(this.env, request.env);
        return encodeValues({ appliedLate: true });
      case "destroy": {
        const destroyed: string[] = [];
        for (const [name, engine] of this.engines) {
          await (engine as { destroy?: () => unknown }).destroy?.();
          destroyed.push(name);
        }
        this.engines.clear();
        return encodeValues({ destroyed, failed: [] });
      }
      default:
        throw coded("METHOD_NOT_FOUND", `the engine host has no method ${method}`);
    }
  }

  async forward(call: IncomingCall, method: string, parts: Parts = call.parts): Promise<void> {
    try {
      if (this.death) throw this.death;
      this.ran.push(method);
      const request = decodeHostValue(parts) as HostRequest;
      if (method === "fetch_tensors") call.reply(encodeValues(this.#fetch(request.ids ?? [])));
      else if (method === "clear_tensors") call.reply(encodeValues(this.#clear(request.ids)));
      else if (method === "create_engine") {
        this.#create(request);
        call.reply(encodeValues(null));
      } else await answer(call, await this.#run(request), (value) => (request.remote ? this.#keep(value) : value));
    } catch (error) {
      call.fail(error);
    }
  }

  async health(): Promise<unknown> {
    return decodeHostValue(await this.call("health", encodeValues({})));
  }

  async stop(): Promise<{ found: boolean; killed: number; left: number }> {
    this.stopped = true;
    return { found: true, killed: 1, left: 0 };
  }

  #create({ engine, engineName, args = [], kwargs = {} }: HostRequest): void {
    if (this.engines.has(engineName)) throw coded("ENGINE_EXISTS", `an engine '${engineName}' exists`);
    const make = engineClasses.get(engine);
    if (!make) throw coded("ENGINE_IMPORT", `cannot import ${engine}: ModuleNotFoundError`);
    try {
      this.engines.set(engineName, make(args, kwargs, this));
    } catch (error) {
      throw coded("ENGINE_CREATION", `constructor of ${engine} failed: ${(error as Error).message}`);
    }
  }

  #keep(value: unknown): unknown {
    return mapObjects(value, (object) => {
      if (!(object instanceof Tensor)) return object;
      const id = `rtensor_${this.pid}_${++this.#made}:${object.dtype}:${object.shape.join("x")}`;
      this.tensors.set(id, object);
      return new ObjectRefWire(id, `${this.nodeId}/${this.engineId}`, "inc", object.bytes.length);
    });
  }

  #fetch(ids: string[]): Tensor[] {
    this.fetched.push(ids);
    const missing = ids.filter((id) => !this.tensors.has(id));
    if (missing.length > 0) {
      const message = `no tensor ${missing.join(", ")}: it was freed`;
      throw new WhiprayError({ code: "RTENSOR_NOT_FOUND", message, details: { missing } });
    }
    return ids.map((id) => this.tensors.get(id)!);
  }

  #clear(ids = [...this.tensors.keys()]): { cleared: number; bytes: number } {
    let bytes = 0;
    const gone = ids.filter((id) => {
      bytes += this.tensors.get(id)?.bytes.length ?? 0;
      return this.tensors.delete(id);
    });
    return { cleared: gone.length, bytes };
  }

  #run({ engineName, method, args: given = [], kwargs, local }: HostRequest): unknown {
    const own = (object: object): unknown =>
      local && object instanceof ObjectRefWire ? this.tensors.get(object.id) : object;
    const args = mapObjects(given, own) as unknown[];
    const engine = this.engines.get(engineName) as Record<string, Method> | undefined;
    if (!engine) throw coded("ENGINE_NOT_FOUND", `no engine '${engineName}'`);
    const found = engine[method];
    if (!found) throw coded("METHOD_NOT_FOUND", `engine has no public method '${method}'`);
    return found.call(engine, ...args, ...(kwargs ? [kwargs] : []));
  }
}

async function answer(call: IncomingCall, result: unknown, keep: (value: unknown) => unknown): Promise<void> {
  const iterator = result as Iterator<unknown> | undefined;
  if (typeof iterator?.next !== "function") {
    call.reply(encodeValues(keep(result)));
    return;
  }
  for (let step = iterator.next(); ; step = iterator.next()) {
    if (step.done) {
      call.end(encodeValues(keep(step.value)));
      return;
    }
    await call.item(encodeValues(keep(step.value)));
  }
}

function coded(code: string, message: string): WhiprayError {
  return new WhiprayError({ code, message });
}
