import { type Where, WhiprayError } from "@whipray/core";
import { type IncomingCall, type Peer, type Revive, TASK_RETURNED, type TaskFunction } from "@whipray/rpc";
import type { ActorMethod } from "./actor-methods.ts";
import { CallQueue } from "./call-queue.ts";
import { CallRunner } from "./call-runner.ts";
import type { ObjectAccess } from "./object-access.ts";
import { RunningTask } from "./running-task.ts";
import { severalResults } from "./several-results.ts";
import type { TaskWaits } from "./task-waits.ts";

/** Tasks that may wait in a worker; callers send far fewer ahead. */
const PENDING_TASKS_LIMIT = 10_000;

export interface TaskHostOptions {
  readonly loadFunction: (exported: TaskFunction) => Promise<ActorMethod>;
  readonly revive: Revive | undefined;
  readonly objects: ObjectAccess | undefined;
  readonly waits: TaskWaits;
  /** This process, for errors of tasks. */
  readonly where: Where;
}

/** Runs the tasks of one job in this process: one at a time, in the order in which they came. */
export class TaskHost {
  readonly #options: TaskHostOptions;
  readonly #runner: CallRunner;
  readonly #queue = new CallQueue(1, PENDING_TASKS_LIMIT);
  /** Loaded once, whoever asks. */
  readonly #loaded = new Map<string, Promise<ActorMethod>>();
  readonly #defined = new WeakMap<Peer, Map<string, { method: ActorMethod; exported: TaskFunction }>>();
  #running: RunningTask | undefined;

  constructor(options: TaskHostOptions) {
    this.#options = options;
    const { revive, objects, where } = options;
    this.#runner = new CallRunner(revive, objects, where, undefined, (call) => this.#running ?? call);
  }

  /** Makes a function known to one session. @throws WhiprayError as the loader does. */
  async define(caller: Peer, exported: TaskFunction): Promise<void> {
    const { module, exportName, codeHash, importHashes, fnId } = exported;
    const key = JSON.stringify([module, exportName, codeHash, importHashes]);
    const loading = this.#loaded.get(key) ?? this.#options.loadFunction(exported);
    this.#loaded.set(key, loading);
    try {
      const mine = this.#defined.get(caller) ?? new Map();
      this.#defined.set(caller, mine);
      mine.set(fnId, { method: this.#method(await loading, exported), exported });
    } catch (error) {
      this.#loaded.delete(key);
      throw error;
    }
  }

  #method(method: ActorMethod, { name, numReturns = 1 }: TaskFunction): ActorMethod {
    if (numReturns === 1) return method;
    return severalResults(method, name, numReturns, () => this.#running!.caller, this.#options.objects);
  }

  handle(call: IncomingCall): void {
    const fnId = call.method.slice(0, call.method.indexOf(":"));
    const known = this.#defined.get(call.peer)?.get(fnId);
    if (!known) {
      call.fail(
        new WhiprayError({ code: "METHOD_NOT_FOUND", message: `Function ${call.method.slice(0, 64)} was not defined` }),
      );
    } else if (this.#options.waits.blocked) call.fail(returned());
    else this.#enter(call, known.method, known.exported);
  }

  /** The running task waits: what would wait behind it goes back to its callers, or a task could wait for one behind itself. */
  handBack(): void {
    for (const { call } of this.#queue.drain()) call.fail(returned());
  }

  #enter(call: IncomingCall, method: ActorMethod, exported: TaskFunction): void {
    const { waits } = this.#options;
    try {
      this.#queue.enter({
        call,
        run: () => {
          waits.started();
          this.#running = new RunningTask(call, exported);
          const running = this.#runner.run(call, method, undefined);
          if (!running) this.#ended();
          return running?.finally(() => this.#ended());
        },
      });
    } catch (error) {
      call.fail(error);
    }
  }

  #ended(): void {
    this.#running = undefined;
    this.#options.waits.ended();
  }
}

function returned(): WhiprayError {
  return new WhiprayError({
    code: TASK_RETURNED,
    message: "The task did not run: the one before it in this worker waits for others",
    retryable: true,
  });
}
