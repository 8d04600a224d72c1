import type { ObjectRef } from "./object-ref.ts";

/** Options of one call. */
export interface MethodOptions {
  /** Aborting cancels the call on the wire. */
  signal?: AbortSignal;
  /** Deadline in milliseconds; none by default. */
  timeoutMs?: number;
}

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

/** One method of a handle. */
export interface RemoteMethod<M extends AnyMethod> {
  /** Calls it: a promise of its result; `for await` over a generator's items. */
  (...args: Parameters<M>): RemoteResult<ReturnType<M>>;
  /** Calls it, and gives a ref to the result at once. */
  remote(...args: Parameters<M>): ObjectRef<Awaited<ReturnType<M>>>;
  /** The same method with options. */
  options(options: MethodOptions): RemoteMethod<M>;
}

/** A handle of an actor by its interface alone: a shallow mapped type over its public methods. */
export type ActorHandle<T> = {
  readonly [K in keyof T as T[K] extends AnyMethod ? K : never]: T[K] extends AnyMethod ? RemoteMethod<T[K]> : never;
};
