import { WhiprayError, type WorkerCrashedError } from "@whipray/core";
import { decodeHostValue, type EngineSpec } from "@whipray/engine";
import { encodeValues, type IncomingCall, type Parts } from "@whipray/rpc";
import type { RunningEngine } from "../src/engine-slot.ts";

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

  constructor(spec: EngineSpec, pid: number) {
    this.spec = spec;
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

  async forward(call: IncomingCall, method: string): Promise<void> {
    try {
      if (this.death) throw this.death;
      this.ran.push(method);
      const request = decodeHostValue(call.parts) as HostRequest;
      if (method === "create_engine") {
        this.#create(request);
        call.reply(encodeValues(null));
      } else await answer(call, await this.#run(request));
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

  #run({ engineName, method, args = [], kwargs }: HostRequest): unknown {
    const engine = this.engines.get(engineName) as Record<string, Method> | undefined;
    if (!engine) throw coded("ENGINE_NOT_FOUND", `no engine '${engineName}'`);
    const found = engine[method];
    if (!found) throw coded("METHOD_NOT_FOUND", `engine has no public method '${method}'`);
    return found.call(engine, ...args, ...(kwargs ? [kwargs] : []));
  }
}

async function answer(call: IncomingCall, result: unknown): Promise<void> {
  const iterator = result as Iterator<unknown> | undefined;
  if (typeof iterator?.next !== "function") {
    call.reply(encodeValues(result));
    return;
  }
  for (let step = iterator.next(); ; step = iterator.next()) {
    if (step.done) {
      call.end(encodeValues(step.value));
      return;
    }
    await call.item(encodeValues(step.value));
  }
}

function coded(code: string, message: string): WhiprayError {
  return new WhiprayError({ code, message });
}
