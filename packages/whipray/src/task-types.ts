import type { RemoteArguments, RemoteResult } from "./actor-types.ts";
import type { ObjectRef } from "./object-ref.ts";
import type { TaskOptions } from "./task-options.ts";
import type { NumReturns } from "./task-refs.ts";

// biome-ignore lint/suspicious/noExplicitAny: any function of a user
export type AnyFunction = (...args: any[]) => any;

/** What a generator function yields; unknown for another one. */
type ItemOf<R> =
  R extends AsyncGenerator<infer Item, unknown, unknown>
    ? Item
    : R extends Generator<infer Item, unknown, unknown>
      ? Item
      : unknown;

/** What `.remote()` gives: a ref, with `numReturns` a list of them, or for a generator function one for each item. */
export type RemoteRefs<R, N extends NumReturns> = N extends 1
  ? ObjectRef<Awaited<R>>
  : N extends "streaming"
    ? AsyncIterableIterator<ObjectRef<ItemOf<R>>>
    : N extends "dynamic"
      ? ObjectRef<ObjectRef<ItemOf<R>>[]>
      : Awaited<R> extends infer Values extends readonly unknown[]
        ? RefsOf<Values>
        : ObjectRef[];

type RefsOf<Values extends readonly unknown[]> = { -readonly [K in keyof Values]: ObjectRef<Values[K]> };

/** A function that runs in some worker process of the cluster. */
export interface RemoteFunction<F extends AnyFunction, N extends NumReturns = 1> {
  /** Runs it: a promise of its result; `for await` over a generator's items. */
  (...args: RemoteArguments<Parameters<F>>): RemoteResult<ReturnType<F>>;
  /** Runs it, and gives a ref to the result at once; with `numReturns` several. */
  remote(...args: RemoteArguments<Parameters<F>>): RemoteRefs<ReturnType<F>, N>;
  /** The same function with options. */
  options<M extends NumReturns = N>(options: TaskOptions & { numReturns?: M }): RemoteFunction<F, M>;
}
