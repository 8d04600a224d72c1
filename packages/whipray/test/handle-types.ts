import type { ActorHandle, Cluster, ObjectRef, PlacementGroup } from "../src/index.ts";

// What users may and may not write, checked by the compiler alone (tsconfig.test.json); nothing here runs.
class Sample {
  readonly field = 1;
  add(a: number, b: number): number {
    return a + b;
  }
  async later(text: string): Promise<string> {
    return text;
  }
  *items(): Generator<number> {
    yield 1;
  }
  async *asyncItems(): AsyncGenerator<string> {
    yield "a";
  }
}

export async function allowed(handle: ActorHandle<Sample>): Promise<void> {
  const sum: number = await handle.add(1, 2);
  const text: string = await handle.later("x");
  const ref: ObjectRef<number> = handle.add.remote(1, 2);
  const limited: number = await handle.add.options({ timeoutMs: 1_000 })(sum, 2);
  for await (const item of handle.items()) item.toFixed();
  for await (const item of handle.asyncItems()) item.toUpperCase();
  const retried: number = await handle.add.options({ retryExceptions: ["RangeError"], maxTaskRetries: 3 })(1, 2);
  using scoped = handle;
  // @ts-expect-error only refs are cancelled; a promise has no way back to its call
  const noRef: Parameters<Cluster["cancel"]>[0] = handle.add(1, 2);
  void noRef;
  void [retried, scoped];
  ref.dispose();
  void [text, limited];
}

export async function refused(handle: ActorHandle<Sample>): Promise<void> {
  // @ts-expect-error a wrong argument
  await handle.add("1", 2);
  // @ts-expect-error too few arguments
  await handle.add(1);
  // @ts-expect-error no such method
  await handle.subtract(1, 2);
  // @ts-expect-error a field is not reachable
  handle.field;
  // @ts-expect-error a generator's result is no promise
  const one: Promise<number> = handle.items();
  void one;
  // @ts-expect-error an option that is none
  handle.add.options({ timeout: 5 });
  // @ts-expect-error retries of errors are a yes or a list of class names
  handle.add.options({ retryExceptions: RangeError });
}

export async function looked(cluster: Cluster, handle: ActorHandle<Sample>): Promise<void> {
  const ref = handle.later.remote("x");
  cluster.cancel(ref);
  cluster.cancel(ref, { recursive: false });
  const [row] = await cluster.listTasks({
    filters: { type: "ACTOR_TASK", actorId: "actor_a", state: "RUNNING" },
    limit: 5,
  });
  const about: [string, number, string | undefined] | undefined = row && [row.name, row.attempt, row.actorId];
  const [text, sum]: [string, number] = [await cluster.get(ref), await cluster.get(handle.add.remote(1, 2))];
  const [ready, rest] = await cluster.wait([ref], { numReturns: 1, timeoutMs: 0 });
  void [about, text, sum, ready[0]?.id, rest];
  // @ts-expect-error an option that is none
  cluster.cancel(ref, { kill: true });
  // @ts-expect-error a handle is ended by kill
  cluster.cancel(handle);
  // @ts-expect-error a kind of task that is none
  await cluster.listTasks({ filters: { type: "ACTOR" } });
  // @ts-expect-error a column that cannot be filtered by
  await cluster.listTasks({ filters: { attempt: 1 } });
  // @ts-expect-error a state that is none
  await cluster.listActors({ filters: { state: "RUNNING" } });
  // @ts-expect-error a single ref is no list
  await cluster.wait(ref);
  // @ts-expect-error what get gives is known
  const number: number = await cluster.get(ref);
  void number;
  // @ts-expect-error a stream has items, no ref of a list
  const list: ObjectRef<number[]> = handle.items.remote();
  void list;
}

export async function made(cluster: Cluster, group: PlacementGroup): Promise<void> {
  const sample = cluster.actor<Sample>(new URL("file:///sample.ts"), "Sample");
  sample.options({ concurrencyGroups: { io: 2 }, methods: { later: { concurrencyGroup: "io" } }, maxPendingCalls: 10 });
  sample.options({ placement: group.bundle(0), lifetime: "detached", links: "STRICT" });
  cluster.actor<Sample>("package.module:Sample", { pythonPath: ["/code"], cwd: "/work" }).options({ numGpus: 1 });
  // @ts-expect-error rules of a method that the interface does not have
  sample.options({ methods: { subtract: { maxTaskRetries: 1 } } });
  // @ts-expect-error a field is no method
  sample.options({ methods: { field: { maxTaskRetries: 1 } } });
  // @ts-expect-error a group is no place: one of its bundles is
  sample.options({ placement: group });
  // @ts-expect-error Ray's other lifetime is the default here
  sample.options({ lifetime: "non_detached" });
  // @ts-expect-error no export and an interpreter at once
  cluster.actor<Sample>("package.module:Sample", "Sample", { cwd: "/work" });
  // @ts-expect-error a strategy that is none
  await cluster.placementGroup([{ CPU: 1 }], { strategy: "STRICT" });
  // @ts-expect-error amounts are numbers
  await cluster.placementGroup([{ CPU: "1" }]);
  // @ts-expect-error a group is waited for by ready(), it is no promise
  const nodes: string = (await group).nodeId;
  void nodes;
}
