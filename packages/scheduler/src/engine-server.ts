import { WhiprayError } from "@whipray/core";
import { decodeHostValue, encodeHostRequest, HOST_METHODS } from "@whipray/engine";
import type { IncomingCall, Parts } from "@whipray/rpc";
import { RAW_CALL } from "@whipray/worker";
import { DOOR_METHODS } from "./door-methods.ts";
import { type Configuration, EngineSlot, type LaunchEngine } from "./engine-slot.ts";
import { invalid } from "./errors.ts";
import { checkEnv, PORT_COUNT_LIMIT, ROLE } from "./job.ts";
import type { ServerInfo, ServerStart, ServerStopped } from "./server-start.ts";
import { fetchArguments } from "./tensor-fetch.ts";

/** The process and node that an RPC server runs in. */
export interface ServerPlace {
  readonly nodeId: string;
  readonly actorId: string;
  readonly pid: number;
  readonly deviceEnv: Readonly<Record<string, string>>;
  readonly launch: LaunchEngine;
  /** Ports of this node, held under `name` until this actor ends. */
  leasePorts(name: string, count: number): Promise<{ ports: number[]; ip: string }>;
  /** Says something in the log of this process. */
  warn?(text: string): void;
  /** Parts of a call, wherever they lie. */
  open?(parts: Parts): Promise<Parts>;
  /** Calls the RPC server of this name, which stands before `engine` (`node/engine`). */
  askServer(engine: string, name: string, method: string, parts: Parts, signal: AbortSignal): Promise<Parts>;
}

/** A further engine host in a worker's lease. */
export interface ForkedHost {
  /** Role and index are its name: `role/index`. */
  readonly role: string;
  readonly index: number;
  /** Python module that is run instead of the engine host: `python -m <cmd>`. It must run the host itself. */
  readonly cmd?: string;
  /** Beside the environment of the worker's own host. */
  readonly env?: Readonly<Record<string, string>>;
}

/** Sibling hosts that one server may have. */
export const FORKED_HOSTS_LIMIT = 64;
/** How long the host's own word may take before it counts as busy. */
const HEALTH_TIMEOUT_MS = 5_000;
/** Separates a raw method from the forked sibling that it means: `call@proxy/0`. */
const AT = "@";
/** Takes a call that goes to an engine host undecoded. */
type RawMethod = (slot: EngineSlot, call: IncomingCall) => void;

/**
 * What AReaL's RPC server does, without its HTTP: it stands before one Python engine host, starts it lazily, passes calls on
 * undecoded, leases ports, forks siblings. Its methods are those of the actor (`RpcServer`).
 */
export class EngineServer {
  readonly #place: ServerPlace;
  readonly #start: ServerStart;
  readonly #main: EngineSlot;
  readonly #forks = new Map<string, EngineSlot>();
  readonly #ports = new Map<string, number[]>();

  constructor(place: ServerPlace, start: ServerStart) {
    this.#place = place;
    this.#start = start;
    this.#main = new EngineSlot(place.launch, start, place.warn);
  }

  /** Takes the calls of engines, also with `@role/index` of a forked sibling: they go to the engine undecoded. */
  [RAW_CALL](call: IncomingCall): boolean {
    const at = call.method.indexOf(AT);
    const take = this.#raw.get(at < 0 ? call.method : call.method.slice(0, at));
    if (!take) return false;
    const slot = at < 0 ? this.#main : this.#forks.get(call.method.slice(at + 1));
    if (slot) take(slot, call);
    else call.fail(forkNotFound(this.#start.workerId, call.method.slice(at + 1)));
    return true;
  }

  readonly #raw: ReadonlyMap<string, RawMethod> = new Map<string, RawMethod>([
    ["call", (slot, call) => slot.call(call)],
    ["createEngine", (slot, call) => slot.create(call)],
    ["callFetching", (slot, call) => slot.callWhen(call, this.#fetch(slot, call))],
    ["fetchTensors", (slot, call) => slot.pass(call, HOST_METHODS.fetchTensors)],
    ["clearTensors", (slot, call) => slot.pass(call, HOST_METHODS.clearTensors)],
    [DOOR_METHODS.open, (slot, call) => void slot.openDoor(call)],
    [DOOR_METHODS.giveResult, (slot, call) => slot.giveResult(call)],
    [DOOR_METHODS.whyCut, (slot, call) => slot.whyCut(call)],
  ]);

  /** The remote tensors among a call's arguments, from their owners straight to here. */
  async #fetch({ engine }: EngineSlot, { parts, signal }: IncomingCall): Promise<Parts> {
    const self = engine && `${this.#place.nodeId}/${engine.engineId}`;
    const opened = (await this.#place.open?.(parts)) ?? parts;
    return fetchArguments(opened, self, (owner, server, method, request) =>
      this.#place.askServer(owner, server, method, request, signal),
    );
  }

  /** Environment of the engine (AReaL: /set_env). `appliedLate` when its interpreter runs already. */
  async setEnv(env: Readonly<Record<string, string>>): Promise<{ appliedLate: boolean }> {
    checkEnv(env);
    return this.#main.setEnv(env);
  }

  async configure(configuration: Configuration): Promise<unknown> {
    return this.#main.configure(configuration);
  }

  /** Leases ports of this node under a name (AReaL: /alloc_ports). Asking again under the same name leases more. */
  async allocPorts(name: string, count: number): Promise<{ ports: number[]; ip: string }> {
    if (!Number.isSafeInteger(count) || count < 1 || count > PORT_COUNT_LIMIT) {
      throw new WhiprayError({ code: "RANGE", message: `count must be from 1 to ${PORT_COUNT_LIMIT}; got ${count}` });
    }
    const leased = await this.#place.leasePorts(name, count);
    this.#ports.set(name, [...(this.#ports.get(name) ?? []), ...leased.ports]);
    return leased;
  }

  /** AReaL: GET /health. Answers while a call runs. @throws WorkerCrashedError when the engine host is gone. */
  async health(): Promise<Record<string, unknown>> {
    const forked = [...this.#forks.keys()];
    const { engine } = this.#main;
    if (!engine) return { status: "healthy", engines: [], forked };
    if (engine.death) throw engine.death;
    const host = await engine.health(HEALTH_TIMEOUT_MS).catch((error: unknown) => {
      if (error instanceof WhiprayError && error.code === "DEADLINE_EXCEEDED") return { busy: true };
      throw error;
    });
    return { status: "healthy", ...(host as Record<string, unknown>), forked };
  }

  /** Stacks of all threads and tasks of the engine host as text, also while a call runs. */
  async stacks(): Promise<string> {
    const { engine } = this.#main;
    if (!engine) return "";
    return decodeHostValue(await engine.call(HOST_METHODS.stacks, encodeHostRequest({}))) as string;
  }

  /** Starts a sibling of the engine host in this lease: same devices, this host's environment and `env` (AReaL: /fork). */
  async fork({ role, index, cmd, env = {} }: ForkedHost): Promise<{ pid: number }> {
    if (typeof role !== "string" || !ROLE.test(role) || !Number.isSafeInteger(index) || index < 0) {
      throw invalid("a forked host has a role of 1 to 64 letters, digits, _ . or - and a whole number from 0 as index");
    }
    checkEnv(env);
    const key = `${role}/${index}`;
    if (this.#forks.has(key)) {
      throw new WhiprayError({ code: "ENGINE_EXISTS", message: `'${key}' is forked already; kill it first` });
    }
    if (this.#forks.size >= FORKED_HOSTS_LIMIT) {
      throw new WhiprayError({ code: "LIMIT", message: `A worker forks at most ${FORKED_HOSTS_LIMIT} hosts` });
    }
    const slot = new EngineSlot(
      this.#place.launch,
      {
        ...this.#start,
        workerId: key,
        cmd,
        env: { ...this.#main.env, ...env },
      },
      this.#place.warn,
    );
    this.#forks.set(key, slot);
    try {
      return { pid: (await slot.start()).pid };
    } catch (error) {
      this.#forks.delete(key);
      throw error;
    }
  }

  /** Ends a forked sibling (AReaL: /kill_forked_worker). @throws WhiprayError `NOT_FOUND`, also the second time. */
  async killForked({ role, index }: Pick<ForkedHost, "role" | "index">): Promise<ServerStopped> {
    const key = `${role}/${index}`;
    const slot = this.#forks.get(key);
    if (!slot) throw forkNotFound(this.#start.workerId, key);
    this.#forks.delete(key);
    return slot.stop(this.#start.graceMs);
  }

  /** First phase of the end: all engines' own `destroy`, which may be collective. The process stays. */
  async destroy(timeoutMs: number): Promise<unknown> {
    const slots = [this.#main, ...this.#forks.values()];
    return Promise.all(slots.map((slot) => slot.destroy(timeoutMs)));
  }

  /** Second phase: the engine host and all siblings are gone when it answers. */
  async stop(graceMs: number): Promise<ServerStopped> {
    const slots = [...this.#forks.values(), this.#main];
    const ends = await Promise.all(slots.map((slot) => slot.stop(graceMs)));
    return ends.reduce((sum, end) => ({ killed: sum.killed + end.killed, left: sum.left + end.left }));
  }

  async info(): Promise<ServerInfo> {
    const { nodeId, actorId, pid, deviceEnv } = this.#place;
    const { engine } = this.#main;
    return {
      workerId: this.#start.workerId,
      nodeId,
      actorId,
      pid,
      deviceEnv,
      ports: Object.fromEntries(this.#ports),
      ...(engine && {
        engine: { engineId: engine.engineId, pid: engine.pid, logPath: engine.logPath, running: this.#main.running },
      }),
    };
  }
}

function forkNotFound(workerId: string, key: string): WhiprayError {
  return new WhiprayError({
    code: "NOT_FOUND",
    message: `Worker '${workerId}' has no forked '${key.slice(0, 80)}'`,
  });
}
