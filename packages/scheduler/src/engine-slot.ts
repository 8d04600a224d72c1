import { asWhiprayError, WhiprayError } from "@whipray/core";
import { decodeHostValue, type EngineProcess, type EngineSpec, encodeHostRequest, HOST_METHODS } from "@whipray/engine";
import { type IncomingCall, type Parts, storedOf } from "@whipray/rpc";
import type { ServerStart, ServerStopped } from "./server-start.ts";
import type { WorkerHealth } from "./worker-health.ts";

/** An engine host as the RPC server uses it. */
export type RunningEngine = Pick<
  EngineProcess,
  "engineId" | "pid" | "logPath" | "death" | "call" | "forward" | "health" | "stop"
> &
  Partial<Pick<EngineProcess, "lend" | "openDoor" | "giveResult" | "whyCut">>;
export type LaunchEngine = (spec: EngineSpec) => Promise<RunningEngine>;

/** AReaL's configuration hook: seeds the random sources of this rank. */
export interface Configuration {
  readonly config: Readonly<Record<string, unknown>>;
  readonly role: string;
  readonly rank: number;
}

/**
 * One engine host that starts with the first engine that is created, so that the environment set before reaches the
 * interpreter at its start (design.md, mechanism 9).
 */
export class EngineSlot {
  readonly #launch: LaunchEngine;
  readonly #start: ServerStart;
  readonly #warn: ((text: string) => void) | undefined;
  /** Mismatches that were said. */
  readonly #said = new Set<string>();
  #env: Record<string, string>;
  #configuration: Configuration | undefined;
  #engine: RunningEngine | undefined;
  #starting: Promise<RunningEngine> | undefined;
  #stopped = false;
  /** The last call that waits for its arguments: later ones go behind it (Ray: they keep their order). */
  #ahead: Promise<void> | undefined;

  constructor(launch: LaunchEngine, start: ServerStart, warn?: (text: string) => void) {
    this.#launch = launch;
    this.#warn = warn;
    this.#start = start;
    this.#env = { ...start.env };
  }

  get engine(): RunningEngine | undefined {
    return this.#engine;
  }

  /** The host runs: it has started, and was neither stopped nor died. */
  get running(): boolean {
    return this.#engine !== undefined && !this.#stopped && this.#engine.death === undefined;
  }

  /** Environment that the host starts, or started, with. */
  get env(): Readonly<Record<string, string>> {
    return this.#env;
  }

  /** Before the start for the interpreter's own environment; afterwards by the host, which refuses what acts at exec alone. */
  async setEnv(env: Readonly<Record<string, string>>): Promise<{ appliedLate: boolean }> {
    if (!this.#starting && !this.#engine) {
      this.#env = { ...this.#env, ...env };
      return { appliedLate: false };
    }
    const engine = this.#engine ?? (await this.#starting!);
    await engine.call(HOST_METHODS.setEnv, encodeHostRequest({ env }));
    this.#env = { ...this.#env, ...env };
    return { appliedLate: true };
  }

  /** Kept until the host starts, where its failure fails the creation of the first engine; else applied now. */
  async configure(configuration: Configuration): Promise<unknown> {
    this.#configuration = configuration;
    const engine = this.#engine ?? (await this.#starting);
    return engine ? decodeHostValue(await configureHost(engine, configuration)) : { seed: null };
  }

  /** Starts the host when there is none. Several callers share one start; a failed one may be tried again. */
  start(): Promise<RunningEngine> {
    if (this.#engine) return Promise.resolve(this.#engine);
    if (this.#stopped) return Promise.reject(stoppedError(this.#start.workerId));
    this.#starting ??= this.#begin().finally(() => {
      this.#starting = undefined;
    });
    return this.#starting;
  }

  async #begin(): Promise<RunningEngine> {
    const { workerId, python, cmd, cwd, pty, claim, isolation, graceMs, startTimeoutMs } = this.#start;
    const env = this.#env;
    const engine = await this.#launch({
      python,
      argv: cmd === undefined ? [] : ["-m", ...cmd.trim().split(/\s+/)],
      cwd,
      env,
      isolation,
      ...(claim && { claim }),
      pty,
      graceMs,
      startTimeoutMs,
      logName: workerId.replaceAll("/", "-"),
    });
    try {
      if (this.#stopped) throw stoppedError(workerId);
      if (this.#configuration) await configureHost(engine, this.#configuration);
    } catch (error) {
      await engine.stop(graceMs);
      throw error;
    }
    this.#engine = engine;
    return engine;
  }

  /** Passes `createEngine` on, after the start of the host. */
  create(call: IncomingCall): void {
    this.start().then(
      async (engine) => {
        await engine.forward(call, HOST_METHODS.createEngine, await lent(engine, call));
        await this.#compare(engine);
      },
      (error: unknown) => call.fail(asWhiprayError(error)),
    );
  }

  /** The host counts devices when an engine is created: what differs from the grant is said once, here where people look first. */
  async #compare(engine: RunningEngine): Promise<void> {
    if (!this.#warn) return;
    const health = await engine.health().catch(() => undefined);
    const { deviceMismatches = [] } = (health ?? {}) as Pick<WorkerHealth, "deviceMismatches">;
    for (const text of deviceMismatches) {
      if (this.#said.has(text)) continue;
      this.#said.add(text);
      this.#warn(`${this.#start.workerId}: ${text}`);
    }
  }

  /** A way for the caller straight to the host (`Splice`). */
  async openDoor(call: IncomingCall): Promise<void> {
    try {
      if (!this.#engine?.openDoor) throw noEngine(this.#start.workerId);
      call.reply(encodeHostRequest({ ...(await this.#engine.openDoor()) }));
    } catch (error) {
      call.fail(error);
    }
  }

  /** The large result of a call that came by a door. */
  giveResult(call: IncomingCall): void {
    if (this.#engine?.giveResult) void this.#engine.giveResult(call);
    else call.fail(noEngine(this.#start.workerId));
  }

  /** Why a caller's way to the host broke: fails with the end of the host, or answers when it lives on. */
  whyCut(call: IncomingCall): void {
    const why = this.#engine?.whyCut?.() ?? Promise.resolve();
    why.then(
      () => call.reply(encodeHostRequest({})),
      (error: unknown) => call.fail(error),
    );
  }

  /** Passes a call on as it is; those that came while the host starts go behind it, in order. */
  call(call: IncomingCall): void {
    const engine = this.#engine ?? this.#starting;
    if (engine && storedOf(call.parts)) this.callWhen(call, lent(engine, call));
    else if (this.#ahead) void this.#ahead.then(() => this.pass(call, HOST_METHODS.call));
    else this.pass(call, HOST_METHODS.call);
  }

  /** Passes a call on when its arguments are there. */
  callWhen(call: IncomingCall, parts: Promise<Parts | undefined>): void {
    const turn = Promise.allSettled([parts, this.#ahead]).then(([ready]) => {
      if (this.#ahead === turn) this.#ahead = undefined;
      if (ready.status === "fulfilled") this.pass(call, HOST_METHODS.call, ready.value);
      else call.fail(ready.reason);
    });
    this.#ahead = turn;
  }

  /** Passes a call on to a host method; `parts` go instead of its own. */
  pass(call: IncomingCall, method: string, parts?: Parts): void {
    if (this.#engine) void this.#engine.forward(call, method, parts);
    else if (this.#starting) {
      this.#starting.then(
        (engine) => engine.forward(call, method, parts),
        (error: unknown) => call.fail(asWhiprayError(error)),
      );
    } else {
      call.fail(noEngine(this.#start.workerId));
    }
  }

  /** Ends the engines by their own `destroy`; the host stays. */
  async destroy(timeoutMs: number): Promise<unknown> {
    const engine = this.#engine ?? (await this.#starting?.catch(() => undefined));
    if (!engine || engine.death) return { destroyed: [], failed: [] };
    return decodeHostValue(await engine.call(HOST_METHODS.destroy, encodeHostRequest({}), { timeoutMs }));
  }

  /** Ends the host and everything that it started; no new one starts afterwards. */
  async stop(graceMs: number): Promise<ServerStopped> {
    this.#stopped = true;
    const engine = this.#engine ?? (await this.#starting?.catch(() => undefined));
    if (!engine) return { killed: 0, left: 0 };
    const { killed, left } = await engine.stop(graceMs);
    return { killed, left };
  }
}

/** Arguments that lie in the node's store, as the engine takes them; undefined for all others. */
async function lent(
  engine: RunningEngine | Promise<RunningEngine>,
  { parts }: IncomingCall,
): Promise<Parts | undefined> {
  const stored = storedOf(parts);
  return stored && (await engine).lend?.(stored);
}

function configureHost(engine: RunningEngine, configuration: Configuration): ReturnType<RunningEngine["call"]> {
  return engine.call(HOST_METHODS.configure, encodeHostRequest({ ...configuration }));
}

function noEngine(workerId: string): WhiprayError {
  return new WhiprayError({
    code: "ENGINE_NOT_FOUND",
    message: `No engine was created on worker '${workerId}' yet; createEngine comes first`,
  });
}

function stoppedError(workerId: string): WhiprayError {
  return new WhiprayError({ code: "SHUTTING_DOWN", message: `Worker '${workerId}' is being deleted` });
}
