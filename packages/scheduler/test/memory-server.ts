import { ActorDiedError, type Clock, delay, TaskCancelledError, type Where, WhiprayError } from "@whipray/core";
import {
  type ActorRow,
  type CallOptions,
  type DeviceGrant,
  decodeValues,
  encodeValues,
  type IncomingCall,
  type ItemStream,
  type Parts,
} from "@whipray/rpc";
import { RAW_CALL } from "@whipray/worker";
import type { ServerHandle, ServerPlacement } from "../src/cluster.ts";
import { EngineServer } from "../src/engine-server.ts";
import type { ServerStart } from "../src/server-start.ts";
import { MemoryEngine } from "./memory-engine.ts";

const RAW = /^(call|createEngine|callFetching|fetchTensors|clearTensors)(@|$)/;
let pids = 1_000;
let ports = 20_000;

export interface ServerSite {
  readonly nodeId: string;
  readonly ip: string;
  readonly devices: readonly DeviceGrant[];
  readonly clock: Clock;
  /** Another server by the name of its actor. */
  find(name: string): MemoryServer;
  onEnd(): void;
}

/** An RPC server that runs the real `EngineServer` in this process, in front of memory engines. */
export class MemoryServer implements ServerHandle {
  readonly placement: ServerPlacement;
  readonly start: ServerStart;
  readonly site: ServerSite;
  readonly engines: MemoryEngine[] = [];
  /** Server methods that were called, in order. */
  readonly asked: string[] = [];
  /** What this server asked of others. */
  readonly askedOthers: string[] = [];
  /** Errors for the next raw calls, given before they reach the engine. */
  readonly refusals: WhiprayError[] = [];
  /** Time until it is ready. */
  readyAfterMs = 0;
  /** `destroy` never answers. */
  hangs = false;
  /** The next launch of an engine host fails with this. */
  launchError: WhiprayError | undefined;
  death: ActorDiedError | undefined;
  readonly #server: EngineServer;
  readonly #died = Promise.withResolvers<never>();

  constructor(placement: ServerPlacement, start: ServerStart, site: ServerSite) {
    this.placement = placement;
    // As over the wire: what is undefined there must not be here.
    this.start = decodeValues(encodeValues(start)) as ServerStart;
    this.site = site;
    this.#died.promise.catch(() => {});
    this.#server = new EngineServer(
      {
        nodeId: site.nodeId,
        actorId: "actor_memory",
        pid: pids++,
        deviceEnv:
          site.devices.length > 0 ? { CUDA_VISIBLE_DEVICES: site.devices.map((one) => one.uuid).join(",") } : {},
        launch: async (spec) => {
          if (this.launchError) throw this.launchError;
          const engine = new MemoryEngine(spec, pids++, site.nodeId);
          this.engines.push(engine);
          return engine;
        },
        askServer: (_engine, name, method, parts, signal) => {
          this.askedOthers.push(`${method} ${name}`);
          return site.find(name).call(method, parts, { signal });
        },
        leasePorts: async (_name, count) => ({ ports: Array.from({ length: count }, () => ports++), ip: site.ip }),
      },
      this.start,
    );
  }

  get engine(): MemoryEngine | undefined {
    return this.engines[0];
  }

  async call(method: string, parts: Parts, options: CallOptions = {}): Promise<Parts> {
    return (await this.#run(method, parts, options, undefined)).value;
  }

  async *stream(method: string, parts: Parts, options: CallOptions = {}): ItemStream & AsyncGenerator<Parts> {
    const items: Parts[] = [];
    let failure: { error: unknown } | undefined;
    let value: Parts | undefined;
    await this.#run(method, parts, options, items).then(
      (end) => {
        value = end.value;
      },
      (error: unknown) => {
        failure = { error };
      },
    );
    yield* items;
    if (failure) throw failure.error;
    return value as Parts;
  }

  async ready({ timeoutMs = Number.POSITIVE_INFINITY }: { timeoutMs?: number }): Promise<void> {
    if (this.death) throw this.death;
    const { clock } = this.site;
    await Promise.race([delay(clock, Math.min(this.readyAfterMs, timeoutMs)), this.#died.promise]);
    if (this.readyAfterMs > timeoutMs) throw new WhiprayError({ code: "DEADLINE_EXCEEDED", message: "not ready" });
  }

  async row(): Promise<ActorRow> {
    const state = this.death ? "DEAD" : this.readyAfterMs > 0 ? "PENDING_CREATION" : "ALIVE";
    const { nodeId, devices } = this.site;
    return {
      state,
      nodeId,
      devices: [...devices],
      waiting: state === "PENDING_CREATION" ? "0.1 GPU short" : undefined,
    } as ActorRow;
  }

  async kill(): Promise<void> {
    this.asked.push("kill");
    this.end({ message: "killed" });
  }

  /** The process ends, by itself or by somebody's hand. */
  end({ message, ...where }: Where & { message: string }): void {
    if (this.death) return;
    this.death = new ActorDiedError({ message, where });
    this.#died.reject(this.death);
    for (const engine of this.engines) engine.stopped = true;
    this.site.onEnd();
  }

  async #run(
    method: string,
    parts: Parts,
    options: CallOptions,
    items: Parts[] | undefined,
  ): Promise<{ value: Parts }> {
    if (this.death) throw this.death;
    if (!RAW.test(method)) {
      this.asked.push(method);
      if (this.hangs && method === "destroy") await this.#late(options, new Promise(() => {}));
      const member = (this.#server as unknown as Record<string, (...args: unknown[]) => unknown>)[method];
      const args = decodeValues(parts) as unknown[];
      return { value: encodeValues(await Promise.race([member?.call(this.#server, ...args), this.#died.promise])) };
    }
    const refusal = this.refusals.shift();
    if (refusal) throw refusal;
    const done = Promise.withResolvers<Parts>();
    const signal = options.signal ?? new AbortController().signal;
    signal.addEventListener("abort", () => done.reject(new TaskCancelledError({ message: "cancelled" })));
    const call = {
      method,
      parts,
      signal,
      wantsStream: items !== undefined,
      oneway: false,
      reply: (value: Parts) => done.resolve(value),
      fail: (error: unknown) => done.reject(error),
      item: async (item: Parts) => void items?.push(item),
      end: (value: Parts = []) => done.resolve(value),
    } as unknown as IncomingCall;
    this.#server[RAW_CALL](call);
    return { value: (await this.#late(options, Promise.race([done.promise, this.#died.promise]))) as Parts };
  }

  #late<T>({ timeoutMs }: CallOptions, work: Promise<T>): Promise<T> {
    if (timeoutMs === undefined) return work;
    const late = delay(this.site.clock, timeoutMs).then(() => {
      throw new WhiprayError({ code: "DEADLINE_EXCEEDED", message: `did not end within ${timeoutMs} ms` });
    });
    return Promise.race([work, late]);
  }
}
