import type { ActorSpec, DeviceGrant, GroupCreate } from "@whipray/rpc";
import { type ActorSeen, doubleLives, lateCalls, overbooked } from "./invariants.ts";
import { isSure, MAY_END_WITH, NOT_THERE } from "./object-rules.ts";
import { type Marked, marked, type ObjectLife, type SimObjects } from "./sim-objects.ts";
import type { SimWorker } from "./sim-worker.ts";

/** A device in the hands of a process. `from` and `to` are places in the order of events; no `to`: held still, or nobody knows. */
export interface Hold {
  readonly device: string;
  readonly units: number;
  readonly holder: string;
  readonly from: number;
  to: number | undefined;
}

/** An actor in a worker process. */
export interface Life {
  readonly actorId: string;
  readonly epoch: number;
  readonly process: string;
  readonly from: number;
  readonly fromMs: number;
  to: number | undefined;
  toMs: number | undefined;
}

/** A call of a driver, or a task. */
export interface CallRecord {
  readonly token: string;
  /** What was called: an actor's id, or `task`. */
  readonly actorId: string;
  readonly boundAtMs: number;
  endedAtMs: number | undefined;
  /** `ok`, or the code of its error. */
  outcome: string | undefined;
}

/** What was asked of the cluster, as far as anybody knows: `unknown` when no answer came. */
export type Answer = "unknown" | "ok" | "refused";

export interface Asked<Request> {
  readonly request: Request;
  created: Answer;
  /** Undefined: nobody asked for its end. */
  ended: Answer | undefined;
}

/** Longer than any write takes that comes to an end. */
export const WRITTEN_AFTER_MS = 12_000;

/** Everything that the invariants look at and that no process of the cluster knows: the view from outside. */
export class History {
  readonly holds: Hold[] = [];
  readonly lives: Life[] = [];
  readonly calls: CallRecord[] = [];
  /** Those that have no end yet. */
  readonly open = new Set<CallRecord>();
  readonly actors = new Map<string, Asked<ActorSpec>>();
  readonly groups = new Map<string, Asked<GroupCreate>>();
  /** Objects that somebody owns, or owned. */
  readonly objects: ObjectLife[] = [];
  /** Processes that may own some: `address incarnation` → its objects. */
  readonly owners = new Map<string, SimObjects>();
  /** Token of a call → how often its method began. */
  readonly runs = new Map<string, number>();
  /** What went wrong at an event itself: devices with two owners, actors that live twice, calls that ran twice or in the wrong order. */
  readonly found: string[] = [];
  /** Actor → highest epoch in which the head has shown it ALIVE. */
  readonly epochs = new Map<string, number>();
  /** Actors that the head has shown as DEAD for so long that it has written it down. */
  readonly dead = new Set<string>();
  headKills = 0;
  readonly #deadSinceMs = new Map<string, number>();
  readonly #places = new Map<string, number>();
  readonly #inHand = new Map<SimWorker, (Hold | Life)[]>();
  readonly #held = new Set<Hold>();
  readonly #living = new Map<string, Life>();
  #order = 0;

  /** A process became an actor. */
  hosted(worker: SimWorker, nowMs: number): void {
    const { spec, epoch, devices } = worker.hosted!;
    const process = `${worker.node.machine}/${worker.workerId}`;
    const life: Life = {
      ...{ actorId: spec.actorId, epoch, process, from: ++this.#order, fromMs: nowMs },
      ...{ to: undefined, toMs: undefined },
    };
    const key = `${spec.actorId} ${epoch}`;
    const before = this.#living.get(key);
    if (before) this.found.push(...doubleLives([before, life]));
    this.#living.set(key, life);
    this.lives.push(life);
    this.#holds(worker, `${spec.actorId} epoch ${epoch} in ${process}`, devices, [life]);
  }

  /** A process became one for tasks. */
  hostedTasks(worker: SimWorker, devices: readonly DeviceGrant[]): void {
    this.#order++;
    this.#holds(worker, `tasks in ${worker.node.machine}/${worker.workerId}`, devices, []);
  }

  #holds(worker: SimWorker, holder: string, devices: readonly DeviceGrant[], more: Life[]): void {
    const from = this.#order;
    const holds = devices.map(({ uuid, units }): Hold => ({ device: uuid, units, holder, from, to: undefined }));
    for (const hold of holds) {
      this.#held.add(hold);
      this.found.push(...overbooked([...this.#held].filter((one) => one.device === hold.device)));
    }
    this.holds.push(...holds);
    this.#inHand.set(worker, [...more, ...holds]);
  }

  /** A call began that has to end by its bound (P11). */
  called(call: CallRecord): void {
    this.calls.push(call);
    this.open.add(call);
  }

  callEnded(call: CallRecord, outcome: string, nowMs: number): void {
    if (!this.open.delete(call)) return;
    call.outcome = outcome;
    call.endedAtMs = nowMs;
    this.found.push(...lateCalls([call], nowMs));
  }

  /** Somebody got the value of an object. */
  got(what: string, value: unknown, expected: Marked): void {
    const { mark, words } = marked(value) ?? {};
    if (mark === expected.mark && words === expected.words) return;
    this.found.push(`${what}: ${words} words of ${mark} instead of ${expected.words} words of ${expected.mark}`);
  }

  /** Somebody asked for an object, and this came of it instead. */
  gotNone(what: string, life: ObjectLife, code: string, brokenMs: number): void {
    if (!MAY_END_WITH.has(code)) this.found.push(`${what}: ${code}`);
    if (NOT_THERE.has(code) && isSure(life, brokenMs)) this.found.push(`${what}: ${code}, and nothing happened to it`);
  }

  ended(worker: SimWorker, nowMs: number): void {
    const to = ++this.#order;
    for (const one of this.#inHand.get(worker) ?? []) {
      one.to = to;
      if ("toMs" in one) one.toMs = nowMs;
      else this.#held.delete(one);
    }
    this.#inHand.delete(worker);
  }

  /** A call began. `lane` is one session of one caller with one process; `place` its place among the calls of that lane. */
  ran(token: string, lane: string, place: number): void {
    const times = (this.runs.get(token) ?? 0) + 1;
    this.runs.set(token, times);
    if (times > 1) this.found.push(`call ${token} ran ${times} times`);
    const before = this.#places.get(lane) ?? -1;
    if (place <= before) this.found.push(`${lane}: call ${place} began after call ${before}`);
    this.#places.set(lane, place);
  }

  /** The head has shown this. What it shows may not be written down yet; what it has shown for `WRITTEN_AFTER_MS` is. */
  shown(actors: readonly ActorSeen[], nowMs: number): void {
    for (const { spec, state, epoch } of actors) {
      const { actorId } = spec;
      if (state === "ALIVE") this.epochs.set(actorId, epoch);
      if (state !== "DEAD") continue;
      const sinceMs = this.#deadSinceMs.get(actorId) ?? nowMs;
      this.#deadSinceMs.set(actorId, sinceMs);
      if (nowMs - sinceMs >= WRITTEN_AFTER_MS) this.dead.add(actorId);
    }
  }

  /** The driver of this job is about to end, and with it what it owns and is not detached. */
  disown(jobId: string): void {
    for (const asked of [...this.groups.values(), ...this.actors.values()]) {
      if (asked.request.jobId === jobId && !asked.request.detached) asked.ended ??= "unknown";
    }
  }

  headKilled(): void {
    this.headKills++;
    this.#deadSinceMs.clear();
  }
}
