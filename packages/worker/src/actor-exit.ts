import { WhiprayError } from "@whipray/core";
import { callContext, requireActorContext } from "./context.ts";

// A name, not the class: a second copy of this package in the process throws its own.
const MARK: unique symbol = Symbol.for("whipray.actorExit") as never;

/** Thrown by `exitActor()`. */
export class ActorExit extends Error {
  override readonly name = "ActorExit";
  readonly [MARK] = true;
}

export function isActorExit(error: unknown): boolean {
  return error instanceof Error && (error as Partial<ActorExit>)[MARK] === true;
}

/**
 * Ends the actor on purpose, from inside one of its methods (Ray: `ray.actor.exit_actor()`): the caller gets ActorDiedError, calls that
 * wait fail, those that run end first, the actor cleans up, and there is no restart.
 * @throws WhiprayError `NOT_IN_ACTOR` outside of an actor's method (Ray: TypeError).
 */
export function exitActor(): never {
  requireActorContext();
  if (!callContext())
    throw new WhiprayError({ code: "NOT_IN_ACTOR", message: "exitActor() is for an actor's methods" });
  throw new ActorExit();
}
