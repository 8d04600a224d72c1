import { type Clock, TaskCancelledError, WhiprayError } from "@whipray/core";
import { decodeHostValue, encodeHostRequest } from "@whipray/engine";
import type { Parts } from "@whipray/rpc";
import { EngineCallError, EngineCreationError, invalid } from "./errors.ts";
import { callFailure, creationFailure } from "./failures.ts";
import { nextTryMs } from "./retry.ts";
import type { Member } from "./role.ts";

/** AReaL: http_timeout, max_retries, retry_delay. */
export const CALL_TIMEOUT_MS = 7_200_000;
export const CALL_TRIES = 3;
export const RETRY_DELAY_MS = 1_000;
export const CREATE_TIMEOUT_MS = 300_000;

/** What a call of an engine takes beside its method. */
export interface CallEngineOptions {
  /** Default: the worker's id. */
  engineName?: string;
  /** Arrays and tensors in `args` and `kwargs` are not copied: do not change them before the promise settles. */
  args?: readonly unknown[];
  kwargs?: Readonly<Record<string, unknown>>;
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
  args?: readonly unknown[];
  kwargs?: Readonly<Record<string, unknown>>;
  /** Longest wait, with the start of the interpreter. Default 300 000. */
  timeoutMs?: number;
  signal?: AbortSignal;
}

/** Creates an engine on a worker (areal 6.15). */
export async function createEngineOn(member: Member, engine: unknown, options: CreateEngineOptions): Promise<void> {
  const { id, server } = member;
  if (typeof engine !== "string" || engine === "") {
    throw new EngineCreationError(
      id,
      `engine must be an import path such as "module.Class"; got ${engine === "" ? "nothing" : typeof engine}`,
      400,
    );
  }
  const { engineName = id, args, kwargs, timeoutMs = CREATE_TIMEOUT_MS, signal } = options;
  if (typeof engineName !== "string" || engineName === "") {
    throw new EngineCreationError(id, "engineName must be text that is not empty", 400);
  }
  member.hasEngine = true;
  try {
    await server.call("createEngine", encodeHostRequest({ engine, engineName, args, kwargs }), { timeoutMs, signal });
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
  const request = callRequest(member, method, options);
  for (let attempt = 1; ; attempt++) {
    try {
      return decodeHostValue(await member.server.call("call", request, { timeoutMs, signal }));
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
  const items = member.server.stream("call", callRequest(member, method, options), { timeoutMs, signal });
  let done = false;
  try {
    for (;;) {
      const step = await items.next();
      if (step.done) {
        done = true;
        return step.value === undefined ? undefined : decodeHostValue(step.value as Parts);
      }
      yield decodeHostValue(step.value);
    }
  } catch (error) {
    done = true;
    throw callFailure(member.id, method, error, 1);
  } finally {
    if (!done) await items.return?.();
  }
}

function callRequest(member: Member, method: string, options: CallEngineOptions): Parts {
  const { engineName = member.id, args, kwargs, rpcMeta } = options;
  if (typeof method !== "string" || method === "") throw invalid("method must be text that is not empty");
  try {
    return encodeHostRequest({ engineName, method, args, kwargs, rpcMeta });
  } catch (error) {
    // What cannot travel was never sent.
    if (error instanceof WhiprayError) {
      throw new EngineCallError(member.id, method, error.message, 1, { cause: error, details: error.details });
    }
    throw error;
  }
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
