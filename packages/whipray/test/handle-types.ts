import type { ActorHandle, ObjectRef } from "../src/index.ts";

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
}
