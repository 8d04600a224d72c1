import { type CallOptions, encodeValues, type Parts } from "@whipray/rpc";
import { isLarge } from "@whipray/worker";
import type { MethodOptions } from "./actor-types.ts";
import { ObjectRef } from "./object-ref.ts";
import type { Submission } from "./submission.ts";

const NO_PARTS: Parts = [];

/** What a node's store does for arguments. */
interface ArgumentStore {
  argument(ref: ObjectRef): Promise<unknown>;
  lend(parts: Parts): Promise<Loan>;
  lendNow(parts: Parts): Loan | undefined;
}

/** Large arguments on their way: `parts` go instead; `done` when the call is over. */
interface Loan {
  readonly parts: Parts;
  readonly done: () => void;
}

/** Where a call goes. */
export interface CallTarget {
  readonly objects: ArgumentStore;
  submit(submission: Submission): void;
  submitWhen(submission: Submission, ready: Promise<void>): void;
}

/**
 * One call of an actor's method, from the moment when it was made. It starts when the caller's own code has run on to its next
 * await, and had the chance to ask for an iterator instead. There may be very many: no promise is made but `result`.
 */
export class MethodCall implements Submission {
  readonly result: Promise<unknown>;
  readonly method: string;
  readonly options: MethodOptions;
  parts: Parts = NO_PARTS;
  retries = Number.NaN;
  /** The caller reads items: this call is not made. */
  streamed = false;
  readonly target: CallTarget;
  readonly args: unknown[];
  #loan: Loan | undefined;
  #resolve!: (value: unknown) => void;
  #reject!: (error: unknown) => void;

  constructor(target: CallTarget, method: string, args: unknown[], options: MethodOptions) {
    this.target = target;
    this.method = method;
    this.args = args;
    this.options = options;
    this.result = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    if (soon.push(this) === 1) queueMicrotask(startAll);
  }

  /** The result, of the reply's parts. */
  protected take(parts: Parts): unknown {
    return parts;
  }

  start(): void {
    if (this.streamed) return;
    try {
      if (this.args.some(isRef)) this.target.submitWhen(this, this.#encodeRefs());
      else {
        const parts = encodeValues(this.args, "args");
        const large = isLarge(parts);
        this.#loan = large ? this.target.objects.lendNow(parts) : undefined;
        this.parts = this.#loan?.parts ?? copied(parts);
        if (large && !this.#loan) this.target.submitWhen(this, this.#lend());
        else this.target.submit(this);
      }
    } catch (error) {
      this.#reject(error);
    }
  }

  /** Refs among the arguments are values when the call starts (Ray): large ones are taken by the callee from where they lie. */
  async #encodeRefs(): Promise<void> {
    const { objects } = this.target;
    const given = this.args.map((arg) => (arg instanceof ObjectRef ? objects.argument(arg) : arg));
    this.parts = encodeArguments(await Promise.all(given));
    if (isLarge(this.parts)) await this.#lend();
  }

  async #lend(): Promise<void> {
    this.#loan = await this.target.objects.lend(this.parts);
    this.parts = this.#loan.parts;
  }

  resolve(parts: Parts): void {
    this.#loan?.done();
    try {
      this.#resolve(this.take(parts));
    } catch (error) {
      this.#reject(error);
    }
  }

  reject(error: unknown): void {
    this.#loan?.done();
    this.#reject(error);
  }
}

// All calls of one turn, whoever made them: they leave in the order in which they were made.
let soon: MethodCall[] = [];

function startAll(): void {
  const calls = soon;
  soon = [];
  for (const call of calls) call.start();
}

function isRef(arg: unknown): boolean {
  return arg instanceof ObjectRef;
}

/** A call with parts as they travel; they must not change before it settles. */
export function callParts(target: CallTarget, method: string, parts: Parts, options: CallOptions): Promise<Parts> {
  return new Promise((resolve, reject) => {
    const call = { method, parts, options, retries: Number.NaN, resolve, reject };
    if (!isLarge(parts)) target.submit(call);
    else {
      const lent = target.objects.lend(parts);
      const done = (): void => void lent.then((loan) => loan.done()).catch(() => {}); // the call says why
      call.resolve = (reply) => {
        done();
        resolve(reply);
      };
      call.reject = (error) => {
        done();
        reject(error);
      };
      const ready = lent.then((loan) => {
        call.parts = loan.parts;
      });
      target.submitWhen(call, ready);
    }
  });
}

/** Refs among the arguments are values when the call starts (Ray); refs inside of values are passed on as refs. */
export function resolveRefs(args: unknown[]): Promise<unknown[]> {
  return Promise.all(args.map((arg) => (arg instanceof ObjectRef ? arg.source.value() : arg)));
}

/** Tensors are copied: the caller may change its arrays as soon as the call was made. */
export function encodeArguments(args: unknown[]): Parts {
  return copied(encodeValues(args, "args"));
}

function copied(parts: Parts): Parts {
  return parts.length === 1 ? parts : parts.map((part, index) => (index === 0 ? part : part.slice()));
}
