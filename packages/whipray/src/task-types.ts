import type { RemoteArguments, RemoteResult } from "./actor-types.ts";
import type { ObjectRef } from "./object-ref.ts";
import type { TaskOptions } from "./task-options.ts";

// biome-ignore lint/suspicious/noExplicitAny: any function of a user
export type AnyFunction = (...args: any[]) => any;

/** A function that runs in some worker process of the cluster. */
export interface RemoteFunction<F extends AnyFunction> {
  /** Runs it: a promise of its result; `for await` over a generator's items. */
  (...args: RemoteArguments<Parameters<F>>): RemoteResult<ReturnType<F>>;
  /** Runs it, and gives a ref to the result at once. */
  remote(...args: RemoteArguments<Parameters<F>>): ObjectRef<Awaited<ReturnType<F>>>;
  /** The same function with options. */
  options(options: TaskOptions): RemoteFunction<F>;
}
