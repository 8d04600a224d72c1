import { WhiprayError } from "@whipray/core";
import type { ActorSpec, ActorStarted, DeathCause, DeviceGrant, Peer, RunningActor } from "@whipray/rpc";
import type { Lease } from "./ledger.ts";
import type { ReadyEnv } from "./runtime-envs.ts";
import type { Worker } from "./workers.ts";

/** An actor that this node has granted resources to, from its start until nothing of it is left. */
export interface HostedActor {
  readonly spec: ActorSpec;
  readonly epoch: number;
  readonly lease: Lease;
  /** What its engines took of its bundle beside it, with the first one that asked for it. */
  claim: Lease | undefined;
  /** What was made for it before it got a process. */
  runtimeEnv: ReadyEnv | undefined;
  /** From the moment when a process is up for it. */
  worker: Worker | undefined;
  /** What the head was, or will be, told of its start. */
  started: Promise<ActorStarted>;
  /** Its constructor is done. */
  alive: boolean;
  /** Why it ends; set once, when it is asked to or when its process is gone. */
  ending: DeathCause | undefined;
  /** Shortest grace that somebody asked for; undefined for an actor that ended by itself: then each engine has its own. */
  graceMs: number | undefined;
  /** Aborted when whoever asked for it last will not hear the answer. */
  asked: AbortSignal;
  /** Aborted when it ends before it has a process. */
  readonly abort: AbortController;
  /** Resolves when nothing of it is left, or what is left is quarantined. */
  readonly ended: PromiseWithResolvers<void>;
}

/** Devices that an actor holds, by its own lease and by its engines' claim. */
export function devicesOf({ lease, claim }: HostedActor): readonly DeviceGrant[] {
  return claim ? [...lease.devices, ...claim.devices] : lease.devices;
}

/** The actors of this node. */
export class HostedActors {
  readonly #actors = new Map<string, HostedActor>();

  get size(): number {
    return this.#actors.size;
  }

  get(actorId: string): HostedActor | undefined {
    return this.#actors.get(actorId);
  }

  add(actor: HostedActor): void {
    this.#actors.set(actor.spec.actorId, actor);
  }

  /** Forgets it, unless a later epoch took its place. */
  remove(actor: HostedActor): void {
    if (this.#actors.get(actor.spec.actorId) === actor) this.#actors.delete(actor.spec.actorId);
  }

  ofLease(leaseId: string): HostedActor | undefined {
    return [...this.#actors.values()].find(({ lease, claim }) => {
      return lease.leaseId === leaseId || claim?.leaseId === leaseId;
    });
  }

  ofAddress(address: string): HostedActor | undefined {
    return [...this.#actors.values()].find((actor) => actor.worker?.address === address);
  }

  /**
   * The actor in whose worker the caller is.
   * @throws WhiprayError `ACTOR_NOT_FOUND`, `STALE_EPOCH`, `FORBIDDEN` when another process asks in its name.
   */
  ofCaller(peer: Peer, actorId: string, epoch: number): HostedActor {
    const actor = this.#actors.get(actorId);
    const details = { actorId, epoch, caller: peer.address };
    if (!actor || actor.ending) {
      throw new WhiprayError({ code: "ACTOR_NOT_FOUND", message: `${actorId} does not run on this node`, details });
    }
    if (actor.epoch !== epoch) {
      const message = `${actorId} is at epoch ${actor.epoch} here, not ${epoch}`;
      throw new WhiprayError({ code: "STALE_EPOCH", message, details });
    }
    if (actor.worker?.address !== peer.address) {
      const message = `${peer.address} is not the worker of ${actorId}`;
      throw new WhiprayError({ code: "FORBIDDEN", message, details });
    }
    return actor;
  }

  all(): HostedActor[] {
    return [...this.#actors.values()];
  }

  /** How many live. */
  get runningCount(): number {
    let count = 0;
    for (const actor of this.#actors.values()) if (isRunning(actor)) count++;
    return count;
  }

  /** What a registration tells the head: those that live. */
  running(): RunningActor[] {
    const running: RunningActor[] = [];
    for (const actor of this.#actors.values()) {
      if (!isRunning(actor)) continue;
      const { spec, epoch, worker } = actor;
      const { address, pid, peer } = worker;
      running.push({ actorId: spec.actorId, epoch, address, inc: peer.incarnation, pid });
    }
    return running;
  }
}

function isRunning(actor: HostedActor): actor is HostedActor & { worker: Worker } {
  return actor.worker !== undefined && actor.alive && !actor.ending;
}
