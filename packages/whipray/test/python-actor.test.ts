import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  ActorDiedError,
  type ActorHandle,
  type ActorOptions,
  type Cluster,
  init,
  kwargs,
  type ObjectRef,
  RayTaskError,
} from "../src/index.ts";
import { processesOf, until } from "./outside.ts";

/** Python's `Tally` as TypeScript sees it. */
interface Tally {
  add(times?: number | object, more?: object): number;
  total(values: Float64Array): number;
  double(values: Float64Array | number[]): Float64Array | number[];
  env(name: string): string | null;
  pid(): number;
  fail(): never;
  count(n: number): Generator<number>;
  die(): void;
  leave(): void;
  note_at_end(path: string): void;
}
interface Crowd {
  meet(people: number): number;
  leave(): void;
}
type Values = Float64Array | ObjectRef<Float64Array>;
interface Looker {
  first(): [number, boolean];
  look(values: Values, other?: Values | object): [number, number];
  keep(values: Values | null): void;
  write(values: Values): number;
  fail(values: Values): void;
}
interface Meeting {
  meet(people: number): Promise<number>;
}

const FOLDER = fileURLToPath(new URL("./python", import.meta.url));
const PYTHON = fileURLToPath(new URL("../../../.venv/bin/python", import.meta.url));
const TEST_MS = 60_000;
let cluster: Cluster;
let folder: string;
beforeAll(async () => {
  cluster = await init({ numCpus: 4, numGpus: 2 });
  folder = mkdtempSync(join(tmpdir(), "python-actor-"));
}, TEST_MS);
afterAll(async () => {
  await cluster.close();
  rmSync(folder, { recursive: true, force: true });
  expect(processesOf(cluster.id)).toEqual([]);
}, TEST_MS);

function tally(options: ActorOptions<Tally> = {}, ...args: unknown[]): Promise<ActorHandle<Tally>> {
  return cluster
    .actor<Tally>("tally:Tally", { pythonPath: [FOLDER] })
    .options(options)
    .create(...(args.length > 0 ? args : [0]));
}
const caught = (promise: Promise<unknown>): Promise<unknown> => promise.catch((error: unknown) => error);

test("a Python class is an actor with the same handle: calls in order, refs, keyword arguments, streams, names", async () => {
  const actor = await tally({ name: "tally" }, 10, kwargs({ step: 2 }));
  expect(await Promise.all([actor.add(), actor.add(5), actor.add(1, kwargs({ step: 100 }))])).toEqual([12, 22, 122]);
  const ref = actor.add.remote(await cluster.put(2));
  expect(await cluster.get(ref)).toBe(126);
  const other = await cluster.getActor<Tally>("tally");
  expect(await other.add(kwargs({ times: 0 }))).toBe(126);
  const items: number[] = [];
  for await (const item of actor.count(1_000)) {
    items.push(item);
    if (items.length === 5) break;
  }
  expect(items).toEqual([0, 1, 2, 3, 4]);
  expect(await cluster.actorRow(actor)).toMatchObject({ className: "tally:Tally", state: "ALIVE" });
  await cluster.kill(actor);
});

test("large arguments, inline and as refs, and large results go through the object store", async () => {
  const actor = await tally();
  const numbers = new Float64Array(50_000).fill(0.5);
  expect(await actor.total(numbers)).toBe(25_000);
  expect(await actor.total(await cluster.put(numbers))).toBe(25_000);
  const back = await actor.double(Array.from(numbers));
  expect([back.length, back[49_999]]).toEqual([50_000, 1]);
  await cluster.kill(actor);
});

test("arrays of the store are mapped by the interpreter: inline, by ref, beside each other, as keywords, in the constructor", async () => {
  const numbers = new Float64Array(50_000).fill(0.5);
  const refs = await Promise.all([cluster.put(numbers), cluster.put(numbers)]);
  const looker = await cluster
    .actor<Looker>("tally:Looker", { pythonPath: [FOLDER], python: PYTHON })
    .create(await cluster.put(numbers));
  expect(await looker.first()).toEqual([25_000, true]);
  expect(await looker.look(numbers)).toEqual([25_000, 1]);
  expect(await looker.look(refs[0]!, refs[1]!)).toEqual([50_000, 2]);
  expect(await looker.look(numbers, refs[0]!)).toEqual([50_000, 2]);
  expect(await looker.look(refs[0]!, kwargs({ scale: 2 }))).toEqual([50_000, 1]);
  expect(await looker.look(numbers, kwargs({ other: numbers }))).toEqual([50_000, 2]);
  // What it writes is its own; what it raises gives the memory back, too.
  expect(await looker.write(refs[0]!)).toBe(-1);
  const unwritten = await cluster.get(refs[0]!);
  expect(unwritten[0]).toBe(0.5);
  cluster.release(unwritten); // a driver collects no garbage for it
  expect(await caught(looker.fail(refs[1]!))).toBeInstanceOf(RayTaskError);
  await looker.keep(refs[1]!);
  for (const ref of refs) ref.dispose();
  const sealed = async () =>
    (await cluster.listObjects())[0]!.objects.filter(({ state, freed }) => state === "sealed" && freed);
  // It keeps one; nothing else is held by it.
  await expect.poll(async () => (await sealed()).length, { timeout: 20_000 }).toBe(1);
  await looker.keep(null);
  await expect.poll(sealed, { timeout: 40_000 }).toEqual([]);
  await cluster.kill(looker);
});

test("maxConcurrency: so many calls of a plain class run at the same time on threads; sys.exit ends it from there, too", async () => {
  const crowd = await cluster
    .actor<Crowd>("tally:Crowd", { pythonPath: [FOLDER] })
    .options({ maxConcurrency: 4 })
    .create();
  const met = Array.from({ length: 20 }, () => crowd.meet(4));
  expect(new Set(await Promise.all(met))).toEqual(new Set([4]));
  expect(await caught(crowd.leave())).toBeInstanceOf(ActorDiedError);
  expect(await cluster.actorRow(crowd)).toMatchObject({ death: { kind: "EXITED" } });
  const two = await cluster
    .actor<Meeting>("tally:Meeting", { pythonPath: [FOLDER] })
    .options({ maxConcurrency: 2 })
    .create();
  expect(await Promise.all([two.meet(2), two.meet(2), two.meet(2)])).toEqual([2, 2, 3]);
  const many = await cluster
    .actor<Crowd>("tally:Crowd", { pythonPath: [FOLDER] })
    .options({ maxConcurrency: 1_001 })
    .create();
  expect(((await caught(many.meet(1))) as Error).message).toMatch(
    /`maxConcurrency` of a class without `async def` is at most 1000/,
  );
  await cluster.kill(two);
});

test("an exception has Python's class name, message and traceback", async () => {
  const actor = await tally();
  const error = (await caught(actor.fail())) as RayTaskError;
  expect(error).toBeInstanceOf(RayTaskError);
  expect(error.remoteName).toBe("KeyError");
  expect(error.message).toContain("nothing here");
  expect(error.remoteStack).toMatch(/Traceback[\s\S]*tally\.py[\s\S]*in fail/);
  expect(await caught((actor as unknown as { nothing(): Promise<void> }).nothing())).toMatchObject({
    code: "METHOD_NOT_FOUND",
  });
  expect(await actor.add(1)).toBe(1);
  await cluster.kill(actor);
});

test("a constructor that raises, and a class that cannot be imported, are the actor's death (Ray 8.49)", async () => {
  const error = (await caught((await tally({}, -5)).add())) as ActorDiedError;
  expect(error).toBeInstanceOf(ActorDiedError);
  expect(error).toMatchObject({ details: { actorInitFailed: true } });
  expect(error.message).toContain("start must be 0 or more; got -5");
  const missing = await cluster.actor<Tally>("no_such_module:Tally", {}).create();
  expect(((await caught(missing.add())) as Error).message).toContain("no_such_module");
  await until("nothing is left of them", () => processesOf(cluster.id).length <= 2);
});

test(
  "SIGKILL of the interpreter is the actor's death: the call under way tells it, with maxRestarts it starts anew",
  async () => {
    const once = await tally();
    const error = (await caught(once.die())) as ActorDiedError;
    expect(error).toBeInstanceOf(ActorDiedError);
    expect(error.message).toContain("signal SIGKILL");
    expect(error.message).toContain("the last words");
    const again = await tally({ maxRestarts: 1, maxTaskRetries: 1 }, 5);
    expect(await again.add(1)).toBe(6);
    const pid = await again.pid();
    process.kill(pid, "SIGKILL");
    await until("it lives again", async () => (await cluster.actorRow(again)).restarts === 1);
    expect(await again.add(1)).toBe(6);
    expect(await again.pid()).not.toBe(pid);
    await cluster.kill(again);
  },
  TEST_MS,
);

test("SIGKILL of the process in front of it takes the interpreter along", async () => {
  const actor = await tally();
  const pid = await actor.pid();
  process.kill((await cluster.actorRow(actor)).pid!, "SIGKILL");
  expect(await caught(actor.add())).toBeInstanceOf(ActorDiedError);
  await until("the interpreter is gone", () => !processesOf(cluster.id).includes(pid));
});

test("sys.exit(0) and terminate end it for good; terminate lets earlier calls end and the class close", async () => {
  const leaver = await tally({ maxRestarts: -1 });
  expect(await caught(leaver.leave())).toBeInstanceOf(ActorDiedError);
  expect(await cluster.actorRow(leaver)).toMatchObject({ restarts: 0, death: { kind: "EXITED" } });
  const actor = await tally({ maxRestarts: -1 });
  const file = join(folder, "closed");
  await actor.note_at_end(file);
  const count = actor.add(3);
  await cluster.terminate(actor);
  expect(await count).toBe(3);
  await until("it closed itself", () => existsSync(file) && readFileSync(file, "utf8") === "closed");
  await until("it is dead", async () => (await cluster.actorRow(actor)).state === "DEAD");
  expect((await cluster.actorRow(actor)).death).toMatchObject({ kind: "EXITED" });
});

test("it sees its devices and its environment alone; kill frees them", async () => {
  const actor = await tally({ numGpus: 1, env: { FROM_ACTOR: "a" } });
  const { devices } = await cluster.actorRow(actor);
  expect(await actor.env("CUDA_VISIBLE_DEVICES")).toBe(String(devices[0]!.index));
  expect(await actor.env("FROM_ACTOR")).toBe("a");
  expect(await (await tally()).env("CUDA_VISIBLE_DEVICES")).toBe("");
  const pid = await actor.pid();
  await cluster.kill(actor);
  await until("its interpreter is gone", () => !processesOf(cluster.id).includes(pid));
  await until("the GPU is free", async () => (await cluster.availableResources())["GPU"] === 2);
});

test("a class with async def runs its calls concurrently", async () => {
  const actor = await cluster.actor<Meeting>("tally:Meeting", { pythonPath: [FOLDER] }).create();
  expect(await Promise.all(Array.from({ length: 20 }, () => actor.meet(20)))).toEqual(Array(20).fill(20));
  await cluster.kill(actor);
});

test("bad classes and options are refused with what is right", async () => {
  for (const name of ["tally", "tally.Tally", "a b:C", "../x:Y", ":C", "m:"])
    expect(() => cluster.actor(name, { pythonPath: [] }), name).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringContaining("package.module:Class") }),
    );
  expect(() => cluster.actor("m:C", { pythonpath: [] } as never)).toThrow(/pythonpath is no option/);
  await expect(tally({ concurrencyGroups: { io: 1 } })).rejects.toThrow(/no concurrencyGroups/);
});
