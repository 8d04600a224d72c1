import { decodeValues, encodeStored, encodeValues, type Parts, StoredWire } from "@whipray/rpc";
import type { Cancelling } from "./cancelling.ts";
import type { Driver } from "./driver.ts";
import { encodeArguments, MethodCall, resolveRefs } from "./method-call.ts";
import type { ObjectRef } from "./object-ref.ts";
import type { TaskCallOptions } from "./task.ts";
import type { TaskTarget } from "./tasks.ts";

/** How many refs a call of a task gives (Ray: `num_returns`). */
export type NumReturns = number | "streaming" | "dynamic";

/** Calls of one task for refs. */
export class TaskRefs {
  readonly #driver: Driver;
  readonly #target: TaskTarget;

  constructor(driver: Driver, target: TaskTarget) {
    this.#driver = driver;
    this.#target = target;
  }

  call(args: unknown[], options: TaskCallOptions, numReturns: NumReturns): unknown {
    if (numReturns === "streaming") return this.#stream(args, options);
    if (numReturns === "dynamic") return this.#driver.objects.own(this.#listed(args, options), options.parent);
    const { objects } = this.#driver;
    const parts = new MethodCall(this.#target, this.#target.fnId, args, options).result as Promise<Parts>;
    return numReturns === 1 ? objects.own(parts, options.parent) : this.#several(parts, numReturns, options.parent);
  }

  /** The reply is a list; each of its values is an object. */
  #several(parts: Promise<Parts>, count: number, cancelling: Cancelling | undefined): ObjectRef[] {
    // Refs and handles in them go on as they are: nobody has them yet.
    const values = parts.then((reply) => decodeValues(reply) as unknown[]);
    return Array.from({ length: count }, (_, index) =>
      this.#driver.objects.own(
        values.then((all) => asObject(all[index])),
        cancelling,
      ),
    );
  }

  /** A ref for each item as it comes; an error is the last ref's, as Ray's next ref tells it. */
  async *#stream(args: unknown[], options: TaskCallOptions): AsyncGenerator<ObjectRef> {
    const { objects } = this.#driver;
    try {
      for await (const item of this.#items(args, options)) {
        yield objects.own(Promise.resolve(item.map((part) => part.slice())), options.parent);
      }
    } catch (error) {
      const failed = Promise.reject(error);
      failed.catch(() => {}); // whoever gets the ref hears of it
      yield objects.own(failed);
    }
  }

  async *#items(args: unknown[], options: TaskCallOptions): AsyncGenerator<Parts> {
    const driver = this.#driver;
    const parts = encodeArguments(await driver.until(resolveRefs(args)));
    const stream = this.#target.stream(this.#target.fnId, parts, options);
    try {
      for (;;) {
        const step = await driver.until(stream.next());
        if (step.done) return;
        yield step.value;
      }
    } finally {
      await stream.return(undefined);
    }
  }

  /** One value: the refs of all items. */
  async #listed(args: unknown[], options: TaskCallOptions): Promise<Parts> {
    const refs: ObjectRef[] = [];
    for await (const ref of this.#stream(args, options)) {
      await ref.source.parts(); // the error of the task is the list's
      refs.push(ref);
    }
    return encodeValues(refs);
  }
}
function asObject(value: unknown): Parts {
  return value instanceof StoredWire ? encodeStored(value) : encodeValues(value);
}
