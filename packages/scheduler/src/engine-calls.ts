import { type Clock, TaskCancelledError, WhiprayError } from "@whipray/core";
import { decodeHostValue, encodeHostRequest } from "@whipray/engine";
import type { Parts, Revive } from "@whipray/rpc";
import { engineCode } from "./engine-code.io.ts";
import { EngineCallError, EngineCreationError, invalid } from "./errors.ts";
import { callFailure, creationFailure } from "./failures.ts";
import { withRTensors } from "./r-tensor.ts";
import { nextTryMs } from "./retry.ts";
import type { Member } from "./role.ts";
import { reviveTensors } from "./tensors.ts";

/** AReaL: http_timeout, max_retries, retry_delay. */
export const CALL_TIMEOUT_MS = 7_200_000;
export const CALL_TRIES = 3;
export const RETRY_DELAY_MS = 1_000;
export const CREATE_TIMEOUT_MS = 300_000;

/** What a call of an engine takes beside its method. */
export interface CallEngineOptions {
  /** Default: the worker's id. */
  engineName?: string;
  /** A host that was forked on this worker (`forkHost`): `role/index`. Default: the worker's own. */
  host?: string;
  /**
   * Arrays and tensors in `args` and `kwargs` are not copied: do not change them before the promise settles. Remote ones
   * (`RTensor`) go from their owners straight to the worker that is called.
   */
  args?: readonly unknown[];
  kwargs?: Readonly<Record<string, unknown>>;
  /** Tensors of the result, or of the items, stay on the engine: here come `RTensor`s. Default false. */
  remote?: boolean;
  /** `broadcast` is for the engine; `interrupt` lets a cancel raise KeyboardInterrupt in a sync method. */
  rpcMeta?: { broadcast?: boolean; interrupt?: boolean };
  /** Longest wait of one try. Default 7 200 000. */
  timeoutMs?: number;
  /** Tries in all; a further one only when the call provably did not start. Default 3. */
  maxRetries?: number;
  /** Wait before the second try, doubled after each. Default 1 000. */
  retryDelayMs?: number;
  signal?: AbortSignal;
}

export interface CreateEngineOptions {
  /** Default: the worker's id. */
  engineName?: string;
  /** A host that was forked on this worker (`forkHost`): `role/index`. Default: the worker's own. */
  host?: string;
  args?: readonly unknown[];
  kwargs?: Readonly<Record<string, unknown>>;
  /** Longest wait, with the start of the interpreter. Default 300 000. */
  timeoutMs?: number;
  signal?: AbortSignal;
}

/** Creates an engine on a worker (areal 6.15). Its module must be the same there, where this process has it too (design.md, mechanism 14). */
export async function createEngineOn(member: Member, engine: unknown, options: CreateEngineOptions): Promise<void> {
  const { id, server } = member;
  if (typeof engine !== "string" || engine === "") {
    throw new EngineCreationError(
      id,
      `engine must be an import path such as "module.Class"; got ${engine === "" ? "nothing" : typeof engine}`,
      400,
    );
  }
  const { engineName = id, args, kwargs, host, timeoutMs = CREATE_TIMEOUT_MS, signal } = options;
  if (typeof engineName !== "string" || engineName === "") {
    throw new EngineCreationError(id, "engineName must be text that is not empty", 400);
  }
  member.hasEngine = true;
  member.engines.set(engineName, engine);
  try {
    const code = engineCode(engine, { pythonPath: member.env["PYTHONPATH"], cwd: member.spec.cwd });
    const request = encodeHostRequest({ engine, engineName, args, kwargs, code });
    await server.call(onHost("createEngine", host), request, { timeoutMs, signal });
  } catch (error) {
    throw creationFailure(id, engine, member.slot.nodeId, error);
  }
}

/** Calls a method of an engine, at most once (areal 6.16). */
export async function callEngineOn(
  member: Member,
  method: string,
  options: CallEngineOptions,
  clock: Clock,
): Promise<unknown> {
  const { maxRetries = CALL_TRIES, retryDelayMs = RETRY_DELAY_MS, timeoutMs = CALL_TIMEOUT_MS, signal } = options;
  const policy = { maxRetries, retryDelayMs };
  const { name, parts, revive } = callRequest(member, method, options);
  for (let attempt = 1; ; attempt++) {
    try {
      return decodeHostValue(await member.server.call(name, parts, { timeoutMs, signal }), revive);
    } catch (error) {
      const waitMs = nextTryMs(error, attempt, policy);
      if (waitMs === undefined) throw callFailure(member.id, method, error, attempt);
      await pause(clock, waitMs, signal);
    }
  }
}

/** The items of a generator method. Never tried again: items may have been taken. */
export async function* streamEngineOn(
  member: Member,
  method: string,
  options: Omit<CallEngineOptions, "maxRetries" | "retryDelayMs">,
): AsyncGenerator<unknown, unknown> {
  const { timeoutMs = CALL_TIMEOUT_MS, signal } = options;
  const { name, parts, revive } = callRequest(member, method, options);
  const items = member.server.stream(name, parts, { timeoutMs, signal });
  let done = false;
  try {
    for (;;) {
      const step = await items.next();
      if (step.done) {
        done = true;
        return step.value === undefined ? undefined : decodeHostValue(step.value as Parts, revive);
      }
      yield decodeHostValue(step.value, revive);
    }
  } catch (error) {
    done = true;
    throw callFailure(member.id, method, error, 1);
  } finally {
    if (!done) await items.return?.();
  }
}

/** A call as it goes to the RPC server: under which name, with what, and what comes of references in its result. */
interface CallRequest {
  readonly name: string;
  readonly parts: Parts;
  readonly revive: Revive | undefined;
}

function callRequest(member: Member, method: string, options: CallEngineOptions): CallRequest {
  const { engineName = member.id, host, args, kwargs, rpcMeta, remote } = options;
  if (typeof method !== "string" || method === "") throw invalid("method must be text that is not empty");
  if (remote !== undefined && typeof remote !== "boolean") throw invalid("remote must be true or false");
  const request = { engineName, method, args, kwargs, rpcMeta, ...(remote && { remote }) };
  if (remote && host !== undefined)
    throw invalid("tensors can stay on a worker's own engine host, not on a forked one");
  const revive = remote ? reviveTensors(member) : undefined;
  try {
    const { encoded, rTensors } = withRTensors(() => encodeHostRequest(request));
    if (rTensors.length === 0) return { name: onHost("call", host), parts: encoded, revive };
    const owners = Object.fromEntries(
      rTensors.map(({ ownerAddress, owner: { workerId, serverName } }) => [ownerAddress, { workerId, serverName }]),
    );
    const given = Object.fromEntries(Object.entries(request).filter(([, value]) => value !== undefined));
    return { name: onHost("callFetching", host), parts: encodeHostRequest({ request: given, owners }), revive };
  } catch (error) {
    // What cannot travel was never sent.
    if (error instanceof WhiprayError) {
      throw new EngineCallError(member.id, method, error.message, 1, { cause: error, details: error.details });
    }
    throw error;
  }
}

/** A raw method of the RPC server, for its own engine host or for a forked one. */
function onHost(method: string, host: string | undefined): string {
  return host === undefined ? method : `${method}@${host}`;
}

function pause(clock: Clock, waitMs: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = (): void => {
      timer.cancel();
      signal?.removeEventListener("abort", end);
      if (signal?.aborted)
        reject(
          new TaskCancelledError({ message: "The call was cancelled before it was tried again", cause: signal.reason }),
        );
      else resolve();
    };
    const timer = clock.after(waitMs, end, { keepAlive: true });
    signal?.addEventListener("abort", end, { once: true });
    if (signal?.aborted) end();
  });
}
