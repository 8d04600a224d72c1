import { WhiprayError, type WorkerCrashedError } from "@whipray/core";
import { type Callee, type EngineProcess, encodeHostRequest, HOST_METHODS } from "@whipray/engine";
import { decodeValues, type IncomingCall, type Parts, type StoredWire, storedOf } from "@whipray/rpc";
import { ACTOR_START, isStored, RAW_CALL } from "@whipray/worker";
import { type PythonStart, pythonArguments } from "./python-options.ts";
import { pythonPlace } from "./python-place.io.ts";

/** The process and node of a Python actor. */
export interface PythonPlace {
  readonly className: string;
  readonly graceMs: number;
  /** How many calls may run at the same time; 0: as the class has it. */
  readonly maxConcurrency: number;
  launch(start: PythonStart): Promise<EngineProcess>;
  /** Ends this process. */
  end(code: number, text: string): void;
}

const ENGINE_NAME = "actor";
/** In `stored` of a request: all arguments lie in one object. */
const WHOLE_LIST = -1;

/**
 * An actor whose class is Python's: this process stands before one engine host, starts it with the constructor's arguments, and passes
 * calls, items and errors on. They live and die together: the end of the interpreter is the actor's death, with its restarts.
 */
export class PythonActor {
  readonly #place = pythonPlace();
  readonly #start: PythonStart;
  readonly #args: readonly unknown[];
  #engine!: EngineProcess;
  #leaving = false;
  /** Its calls are kept in order, also where arguments have to be fetched. */
  #ahead: Promise<void> | undefined;

  constructor(start: PythonStart, args: readonly unknown[]) {
    this.#start = start;
    this.#args = args;
  }

  async [ACTOR_START](): Promise<void> {
    this.#engine = await this.#place.launch(this.#start);
    this.#engine.onEnded((error) => this.#ended(error));
    const { engine } = this.#start;
    const { maxConcurrency } = this.#place;
    const { given, lent } = await this.#lent([...this.#args]);
    const request = { engine, engineName: ENGINE_NAME, ...given, ...(maxConcurrency > 0 && { maxConcurrency }) };
    try {
      await this.#answered(this.#engine.call(HOST_METHODS.createEngine, encodeHostRequest(request)));
    } finally {
      for (const stored of lent) this.#engine.returned(stored);
    }
  }

  [RAW_CALL](call: IncomingCall): Promise<void> | false {
    return call.method.startsWith("$") ? false : this.#take(call);
  }

  /** The class' own `destroy` or `close`, then the interpreter. */
  async [Symbol.asyncDispose](): Promise<void> {
    const { graceMs } = this.#place;
    this.#leaving = true;
    // One that is busy or failed is ended all the same.
    await this.#engine.call(HOST_METHODS.destroy, encodeHostRequest({}), { timeoutMs: graceMs || 1 }).catch(() => {});
    await this.#engine.stop(graceMs);
  }

  #take(call: IncomingCall): Promise<void> {
    const ahead = this.#ahead;
    const turn = this.#request(call).then(
      async ({ request, lent }) => {
        await ahead;
        // Starts before this returns: the next call is behind it.
        const done = this.#engine.forward(call, HOST_METHODS.call, request, this.#callee);
        return {
          done: done.then(() => {
            for (const stored of lent) this.#engine.returned(stored);
          }),
        };
      },
      async (error: unknown) => {
        await ahead;
        call.fail(error);
        return { done: Promise.resolve() };
      },
    );
    const started = turn.then(() => {});
    this.#ahead = started;
    return turn.then(({ done }) => done);
  }

  async #request({ method, parts }: IncomingCall): Promise<{ request: Parts; lent: StoredWire[] }> {
    if (method.includes("@"))
      throw new WhiprayError({ code: "INVALID_ARGUMENT", message: "A Python actor has no concurrency groups" });
    const whole = storedOf(parts);
    const { given, lent } = whole
      ? { given: { stored: [[WHOLE_LIST, ...(await this.#engine.lendOne(whole))]] }, lent: [whole] }
      : await this.#lent(parts[0]?.length ? (decodeValues(parts) as unknown[]) : []);
    return { request: encodeHostRequest({ engineName: ENGINE_NAME, method, ...given }), lent };
  }

  /** Arguments as the host takes them: it maps those that lie in the node's store, and this process holds them meanwhile. */
  async #lent(args: unknown[]): Promise<{ given: Record<string, unknown>; lent: StoredWire[] }> {
    if (!args.some(isStored)) return { given: pythonArguments(args), lent: [] };
    const lent = args.filter(isStored);
    const lending = args.map(async (arg, at) =>
      isStored(arg) ? [at, ...(await this.#engine.lendOne(arg))] : undefined,
    );
    const outcomes = await Promise.allSettled(lending);
    const failed = outcomes.find((outcome) => outcome.status === "rejected");
    if (failed) {
      for (const [at, { status }] of outcomes.entries()) {
        const arg = args[at];
        if (status === "fulfilled" && isStored(arg)) this.#engine.returned(arg);
      }
      throw failed.reason;
    }
    const stored = outcomes.flatMap((outcome) =>
      outcome.status === "fulfilled" && outcome.value ? [outcome.value] : [],
    );
    return { given: { ...pythonArguments(args.map((arg) => (isStored(arg) ? null : arg))), stored }, lent };
  }

  /** The engine; what it does not answer because it ended has no answer: the caller hears of the actor's death instead. */
  readonly #callee: Callee = {
    submit: (method, parts, options, sink) => {
      this.#engine.submit(method, parts, options, {
        resolve: (reply) => sink.resolve(reply),
        reject: (error) => {
          if (!this.#isLost(error)) sink.reject(error);
        },
      });
    },
    stream: (method, parts, options) => {
      const items = this.#engine.stream(method, parts, options);
      return { ...items, next: () => this.#answered(items.next()) };
    },
    notify: (method, parts, options) => this.#engine.notify(method, parts, options),
  };

  #answered<T>(answer: Promise<T>): Promise<T> {
    return answer.catch((error: unknown) => {
      if (!this.#isLost(error)) throw error;
      return new Promise<never>(() => {});
    });
  }

  #isLost(error: unknown): boolean {
    return this.#engine.death !== undefined || (error as Partial<WhiprayError>).code === "WORKER_CRASHED";
  }

  #ended(error: WorkerCrashedError): void {
    if (this.#leaving) return;
    // sys.exit() or the end of terminate(): on purpose, as exit code 0 of any actor (Ray: INTENDED_USER_EXIT).
    const meant = error.where?.exitCode === 0;
    this.#place.end(meant ? 0 : 1, `${this.#place.className}: ${error.message}`);
  }
}
