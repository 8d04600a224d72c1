import type { ObjectRef } from "./object-ref.ts";

/** Options of one call. */
export interface MethodOptions {
  /** Aborting cancels the call on the wire. */
  signal?: AbortSignal;
  /** Deadline in milliseconds; none by default. */
  timeoutMs?: number;
}

/** What holds for all calls of a method unless a call says otherwise (Ray: `@ray.method`). */
export interface MethodDefaults {
  /** One of the actor's `concurrencyGroups`. */
  concurrencyGroup?: string;
  /** Executions beyond the first, after a death of the actor or an error that `retryExceptions` names; −1 without bound. */
  maxTaskRetries?: number;
  /** Errors of the method count as such failures too: all, or those of these class names (`["TimeoutError"]`). Default false. */
  retryExceptions?: boolean | readonly string[];
}

/** Options of one call of an actor's method. */
export interface ActorMethodOptions extends MethodOptions, MethodDefaults {}

// biome-ignore lint/suspicious/noExplicitAny: any method of a user's interface
type AnyMethod = (...args: any[]) => any;

/** What a method gives its remote caller: a promise, or an async iterator for a generator. */
export type RemoteResult<R> = [R] extends [never]
  ? Promise<never>
  : R extends AsyncGenerator<infer Item, unknown, unknown>
    ? AsyncIterableIterator<Item>
    : R extends Generator<infer Item, unknown, unknown>
      ? AsyncIterableIterator<Item>
      : Promise<Awaited<R>>;

/** Arguments of a remote call: each may be a ref to its value, which the callee gets (Ray: refs as arguments are resolved). */
export type RemoteArguments<A extends readonly unknown[]> = { [K in keyof A]: A[K] | ObjectRef<A[K]> };

/** One method of a handle. */
export interface RemoteMethod<M extends AnyMethod> {
  /** Calls it: a promise of its result; `for await` over a generator's items. */
  (...args: RemoteArguments<Parameters<M>>): RemoteResult<ReturnType<M>>;
  /** Calls it, and gives a ref to the result at once. */
  remote(...args: RemoteArguments<Parameters<M>>): ObjectRef<Awaited<ReturnType<M>>>;
  /** The same method with options. */
  options(options: ActorMethodOptions): RemoteMethod<M>;
}

/** The names of the methods that an actor of this interface has. */
export type MethodName<T> = { [K in keyof T]: T[K] extends AnyMethod ? K : never }[keyof T] & string;

/** A handle of an actor by its interface alone: a shallow mapped type over its public methods. */
export type ActorHandle<T> = {
  readonly [K in keyof T as T[K] extends AnyMethod ? K : never]: T[K] extends AnyMethod ? RemoteMethod<T[K]> : never;
} & Disposable;
