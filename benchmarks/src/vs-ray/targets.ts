import { type ActorHandle, currentCluster, type RemoteFunction } from "whipray";

const HERE = new URL(import.meta.url);
const OK = new TextEncoder().encode("ok");
const MIB = 1_048_576;

/** The actor of Ray's microbenchmark, and what the rows of our own call. */
export class Actor {
  smallValue(): Uint8Array {
    return OK;
  }
  smallValueArg(_: unknown): Uint8Array {
    return OK;
  }
  async smallValueBatch(n: number): Promise<void> {
    const task = taskHere<typeof smallValue>("smallValue");
    await inside().get(Array.from({ length: n }, () => task.remote()));
  }
  firstAndLast(array: Uint8Array): number {
    return array[0]! + array.at(-1)!;
  }
  *items(n: number): Generator<number, void, unknown> {
    for (let i = 0; i < n; i++) yield i;
  }
  pid(): number {
    return process.pid;
  }
}

/** Its methods are async, as those of an asyncio actor. */
export class AsyncActor {
  async smallValue(): Promise<Uint8Array> {
    return OK;
  }
  async smallValueArg(_: unknown): Promise<Uint8Array> {
    return OK;
  }
  firstAndLast(array: Uint8Array): number {
    return array[0]! + array.at(-1)!;
  }
  async sleep(): Promise<void> {
    await new Promise(() => setTimeout(() => {}, 3_600_000));
  }
  pid(): number {
    return process.pid;
  }
}

/** An actor that calls other actors, found by their names. */
export class Client {
  #servers: ActorHandle<Actor>[] = [];

  async meet(names: readonly string[]): Promise<void> {
    this.#servers = await Promise.all(names.map((name) => inside().getActor<Actor>(name)));
  }
  async smallValueBatch(n: number): Promise<void> {
    await Promise.all(this.#servers.flatMap((server) => Array.from({ length: n }, () => server.smallValue())));
  }
  async smallValueBatchArg(n: number): Promise<void> {
    using x = await inside().put(0);
    await Promise.all(this.#servers.flatMap((server) => Array.from({ length: n }, () => server.smallValueArg(x))));
  }
}

export function smallValue(): Uint8Array {
  return OK;
}

export async function putSmall100(): Promise<void> {
  for (let i = 0; i < 100; i++) (await inside().put(0)).dispose();
}

export async function put80Mib10(): Promise<void> {
  for (let i = 0; i < 10; i++) (await inside().put(new BigInt64Array(10 * MIB))).dispose();
}

/** Refs inside a value stay refs. */
export function tenThousandRefs(): Promise<unknown[]> {
  return Promise.all(Array.from({ length: 10_000 }, () => inside().put(1)));
}

export async function roundRobin(names: readonly string[], n: number): Promise<void> {
  const actors = await Promise.all(names.map((name) => inside().getActor<Actor>(name)));
  await Promise.all(Array.from({ length: n }, (_, i) => actors[i % actors.length]!.smallValue()));
}

// biome-ignore lint/suspicious/noExplicitAny: any function of this file
function taskHere<F extends (...args: any[]) => any>(name: string): RemoteFunction<F> {
  return inside().task<F>(HERE, name);
}

function inside(): NonNullable<ReturnType<typeof currentCluster>> {
  const cluster = currentCluster();
  if (!cluster) throw new Error("this runs in actors and tasks only");
  return cluster;
}
