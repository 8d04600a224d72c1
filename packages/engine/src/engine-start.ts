import { asWhiprayError, type Timer, toUnits, WhiprayError } from "@whipray/core";
import { type DeathCause, type EngineStart, engineStart, engineStop, tokenDigest } from "@whipray/rpc";
import { deathNotices } from "./death-notices.ts";
import { engineCrashed } from "./engine-death.ts";
import { DEFAULT_GRACE_MS, DEFAULT_START_TIMEOUT_MS, type EngineLauncher, type EngineSpec } from "./launcher.ts";

export interface StartedEngine {
  readonly pid: number;
  readonly logPath: string;
}

interface StartIdentity {
  readonly engineId: string;
  readonly token: string;
  readonly signal: AbortSignal | undefined;
}

/**
 * Asks the raylet for the process and waits until it has dialled us, or ended, or the time is over. `onDeath` hears of an end
 * after that. Whatever goes wrong, nothing of it is left running.
 */
export async function startEngine(
  launcher: EngineLauncher,
  spec: EngineSpec,
  { engineId, token, signal }: StartIdentity,
  onDeath: (cause: DeathCause) => void,
): Promise<StartedEngine> {
  const { clock, raylet, nodeId, actorId } = launcher;
  const timeoutMs = spec.startTimeoutMs ?? DEFAULT_START_TIMEOUT_MS;
  const deadlineAtMs = clock.now() + timeoutMs;
  const linked = Promise.withResolvers<void>();
  const died = Promise.withResolvers<DeathCause>();
  const givenUp = Promise.withResolvers<never>();
  // Nobody awaits it when the start failed before.
  givenUp.promise.catch(() => {});
  let dialled = false;
  const disallow = launcher.expectEngine(engineId, tokenDigest(token), () => {
    dialled = true;
    linked.resolve();
  });
  const unwatch = deathNotices(launcher.endpoint).watch(engineId, (cause) => {
    died.resolve(cause);
    disallow();
    if (dialled) onDeath(cause);
  });
  const timer: Timer = clock.after(timeoutMs, () => givenUp.reject(startTimeout(engineId, timeoutMs)), {
    keepAlive: true,
  });
  const onAbort = (): void => givenUp.reject(asWhiprayError(signal?.reason, "CANCELLED"));
  signal?.addEventListener("abort", onAbort, { once: true });
  let started: StartedEngine | undefined;
  try {
    signal?.throwIfAborted();
    const request = startRequest(launcher, spec, engineId, token);
    started = await raylet.invoke(engineStart, request, { timeoutMs: Math.max(1, deadlineAtMs - clock.now()) });
    const identity = { engineId, nodeId, actorId, ...started };
    const cause = await Promise.race([died.promise, linked.promise, givenUp.promise]);
    if (cause) {
      throw engineCrashed(identity, cause, { code: "ENGINE_START_FAILED", during: "before it connected" });
    }
    return started;
  } catch (error) {
    unwatch();
    disallow();
    await stopQuietly(launcher, engineId);
    const failure = asWhiprayError(error);
    const late = failure.code === "DEADLINE_EXCEEDED";
    throw (late ? startTimeout(engineId, timeoutMs, failure) : failure).at(place());
  } finally {
    timer.cancel();
    signal?.removeEventListener("abort", onAbort);
  }

  function place(): NonNullable<WhiprayError["where"]> {
    return { node: nodeId, process: engineId, actor: actorId, ...started };
  }
}

function startRequest(launcher: EngineLauncher, spec: EngineSpec, engineId: string, token: string): EngineStart {
  return {
    engineId,
    actorId: launcher.actorId,
    epoch: launcher.epoch,
    ...(spec.python !== undefined && { python: spec.python }),
    argv: [...(spec.argv ?? [])],
    ...(spec.cwd !== undefined && { cwd: spec.cwd }),
    env: { ...spec.env },
    isolation: spec.isolation ?? "env",
    ...(spec.devices && { devices: [...spec.devices] }),
    ...(spec.claim && { claim: { ...toUnits(spec.claim, "the claim of an engine") } }),
    pty: spec.pty ?? false,
    socket: launcher.socket,
    token,
    logName: spec.logName,
    graceMs: spec.graceMs ?? DEFAULT_GRACE_MS,
  };
}

// The start's own error is what the caller must see; a raylet that cannot stop it ends it with the lease.
async function stopQuietly({ raylet }: EngineLauncher, engineId: string): Promise<void> {
  await raylet.invoke(engineStop, { engineId, graceMs: 0 }, { timeoutMs: DEFAULT_GRACE_MS }).catch(() => {});
}

function startTimeout(engineId: string, timeoutMs: number, cause?: WhiprayError): WhiprayError {
  return new WhiprayError({
    code: "ENGINE_START_TIMEOUT",
    message: `Engine ${engineId} did not connect within ${timeoutMs} ms; it was stopped. Its log tells how far it came; startTimeoutMs allows more`,
    details: { engineId, timeoutMs },
    cause,
  });
}
