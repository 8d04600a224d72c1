import { delay, type WhiprayError } from "@whipray/core";
import { actorResolve } from "@whipray/rpc";
import type { Driver } from "./driver.ts";

/** One long poll for an actor's death. */
const DEATH_POLL_MS = 20_000;
const HEAD_AWAY_MS = 1_000;
/** No start of an actor ends the wait. */
const NO_EPOCH = Number.MAX_SAFE_INTEGER;

/** Handles among a constructor's arguments hold their actors until this one is dead for good: until then it may run its constructor again. */
export async function forgetAtDeath(driver: Driver, actorId: string): Promise<void> {
  while (!(await isDead(driver, actorId))) {}
  driver.scopes.forget(actorId);
}

/** After a while; or it is known. */
async function isDead(driver: Driver, actorId: string): Promise<boolean> {
  const request = { actorId, wait: true, afterEpoch: NO_EPOCH, timeoutMs: DEATH_POLL_MS };
  try {
    return (await driver.ask(actorResolve, request)).actor.state === "DEAD";
  } catch (error) {
    // The head forgets dead ones in the end; or this process left.
    if (driver.head.closed || (error as Partial<WhiprayError>).code === "NOT_FOUND") return true;
    await delay(driver.connection.clock, HEAD_AWAY_MS);
    return false;
  }
}
