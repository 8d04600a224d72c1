import type { ObjectRef, PlacementGroup, RemoteFunction } from "../src/index.ts";

/** What users may and may not write with tasks; checked by the compiler alone. */
type Add = (a: number, b: number) => number;
type Pair = (n: number) => Promise<[number, string]>;
type Items = () => Generator<string, void, unknown>;

export async function allowed(
  add: RemoteFunction<Add>,
  pair: RemoteFunction<Pair>,
  items: RemoteFunction<Items>,
): Promise<void> {
  const sum: number = await add(1, 2);
  const ref: ObjectRef<number> = add.remote(sum, add.remote(1, 2));
  const spread: ObjectRef<number> = add.options({ strategy: "SPREAD", labels: { zone: "!a" } }).remote(1, 2);
  const [n, text] = pair.options({ numReturns: 2 }).remote(1);
  const both: [ObjectRef<number>, ObjectRef<string>] = [n, text];
  const again: [ObjectRef<number>, ObjectRef<string>] = pair
    .options({ numReturns: 2 })
    .options({ numCpus: 2 })
    .remote(1);
  for await (const item of items()) item.toUpperCase();
  for await (const item of items.options({ numReturns: "streaming" }).remote()) item satisfies ObjectRef<string>;
  const all: ObjectRef<ObjectRef<string>[]> = items.options({ numReturns: "dynamic" }).remote();
  void [ref, spread, both, again, all];
}

export async function refused(
  add: RemoteFunction<Add>,
  pair: RemoteFunction<Pair>,
  group: PlacementGroup,
): Promise<void> {
  // @ts-expect-error a wrong argument
  await add("1", 2);
  // @ts-expect-error a strategy of placement groups
  add.options({ strategy: "PACK" });
  // @ts-expect-error an option that is none
  add.options({ numCpu: 1 });
  // @ts-expect-error one ref is no list
  pair.remote(1)[0];
  // @ts-expect-error the list has as many refs as were asked for
  pair.options({ numReturns: 2 }).remote(1)[2];
  // @ts-expect-error retries are a number
  add.options({ maxRetries: "3" });
  // @ts-expect-error what belongs to a function, not to its calls
  add.options({ maxCalls: 1 });
  // @ts-expect-error a task has no restarts
  add.options({ maxRestarts: 1 });
  // @ts-expect-error an actor's name for what a task has none of
  add.options({ lifetime: "detached" });
  // @ts-expect-error a group is no place: one of its bundles is
  add.options({ placement: group });
  // @ts-expect-error pip and uv are lists
  add.options({ runtimeEnv: { pip: "numpy" } });
  // @ts-expect-error a value for an argument of another type by ref
  add.remote(pair.remote(1), 2);
  // @ts-expect-error no such number of returns
  pair.options({ numReturns: "all" });
}
