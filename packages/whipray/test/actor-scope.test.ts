import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ActorRow } from "@whipray/rpc";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  type ActorHandle,
  ActorHandleNotFoundError,
  type ActorOptions,
  type Cluster,
  init,
  type ObjectRef,
} from "../src/index.ts";
import { until } from "./outside.ts";
import type { Held, Keeper } from "./scoped-actor.ts";

const MODULE = new URL("./scoped-actor.ts", import.meta.url);
let cluster: Cluster;
let folder: string;
beforeAll(async () => {
  cluster = await init({ numCpus: 8, numGpus: 1 });
  folder = mkdtempSync(join(tmpdir(), "actor-scope-"));
}, 60_000);
afterAll(async () => {
  await cluster.close();
  rmSync(folder, { recursive: true, force: true });
});

function held(options: ActorOptions<Held> = {}, note = ""): Promise<ActorHandle<Held>> {
  return cluster.actor<Held>(MODULE, "Held").options(options).create(note);
}
const keeper = (): Promise<ActorHandle<Keeper>> => cluster.actor<Keeper>(MODULE, "Keeper").create();
const idOf = async (handle: unknown): Promise<string> => (await cluster.actorRow(handle)).actorId;
const row = async (actorId: string): Promise<ActorRow> =>
  (await cluster.listActors()).find((actor) => actor.actorId === actorId)!;
const living = async (): Promise<ActorRow[]> => (await cluster.listActors()).filter(({ state }) => state !== "DEAD");
const ended = (actorId: string): Promise<void> =>
  until(`${actorId} is out of scope`, async () => (await row(actorId)).death?.kind === "OUT_OF_SCOPE");

describe("an anonymous actor ends with its handles (Ray: out of scope)", () => {
  test("Ray 8.61: the handle is disposed, and the GPU is free for the next actor, five times", async () => {
    for (let time = 0; time < 5; time++) {
      using actor = await held({ numGpus: 1 });
      expect(await actor.devices()).toBe("0");
    }
    await until("all is free", async () => (await cluster.availableResources())["GPU"] === 1);
  });

  test("calls that were made before are answered, the actor cleans up; later calls are refused", async () => {
    const note = join(folder, "clean-up");
    const actor = await held({ maxRestarts: -1 }, note);
    const actorId = await idOf(actor);
    const calls = [actor.hold(), actor.open()];
    actor[Symbol.dispose]();
    actor[Symbol.dispose]();
    expect(await Promise.all(calls)).toEqual(["held", null]);
    await expect(actor.ping()).rejects.toBeInstanceOf(ActorHandleNotFoundError);
    await ended(actorId);
    await until("it cleaned up", () => existsSync(note));
    expect((await row(actorId)).restarts).toBe(0);
  });

  test("a handle that was passed on holds it, over several hands, until all are disposed", async () => {
    const [one, two] = await Promise.all([keeper(), keeper()]);
    const actor = await held();
    const actorId = await idOf(actor);
    await one.keep(actor);
    actor[Symbol.dispose]();
    expect(await one.ask()).toBe("pong");
    await one.passOn(two);
    await one.drop();
    expect(await two.ask()).toBe("pong");
    expect((await row(actorId)).state).toBe("ALIVE");
    await two.drop();
    await ended(actorId);
    await Promise.all([cluster.kill(one), cluster.kill(two)]);
  });

  test("a handle that a method returns outlives its maker's own", async () => {
    const factory = await keeper();
    const actor = await factory.make();
    const actorId = await idOf(actor);
    await factory.drop();
    expect(await actor.ping()).toBe("pong");
    // It comes home, and is a handle there again; then all are disposed.
    await factory.keep(actor);
    actor[Symbol.dispose]();
    expect(await factory.ask()).toBe("pong");
    await factory.drop();
    await ended(actorId);
    await cluster.kill(factory);
  });
});

describe("a handle in an object, or among a constructor's arguments, counts", () => {
  test("an object holds its actor until it ends, and who read it holds it on", async () => {
    const boxed = await held();
    const boxedId = await idOf(boxed);
    const box = await cluster.put({ handle: boxed });
    boxed[Symbol.dispose]();
    const [reader, later] = await Promise.all([keeper(), keeper()]);
    expect(await reader.readFrom(box)).toBe("pong");
    expect(await reader.readFrom(box)).toBe("pong");
    expect((await row(boxedId)).state).toBe("ALIVE");
    await later.keepFrom({ box });
    box.dispose();
    expect(await later.ask()).toBe("pong");
    expect((await row(boxedId)).state).toBe("ALIVE");
    await later.drop();
    await ended(boxedId);
    await Promise.all([cluster.kill(reader), cluster.kill(later)]);
  });

  test("a reader that is killed holds nothing any more", async () => {
    const boxed = await held();
    const boxedId = await idOf(boxed);
    const box = await cluster.put({ handle: boxed });
    boxed[Symbol.dispose]();
    const reader = await keeper();
    await reader.keepFrom({ box });
    box.dispose();
    expect(await reader.ask()).toBe("pong");
    await cluster.kill(reader);
    await ended(boxedId);
  });

  test("a handle in a result by ref lives with the ref, also for others who read it, and when nobody did", async () => {
    const factory = await keeper();
    const made = factory.make.remote() as ObjectRef<ActorHandle<Held>>;
    const [, reader] = await Promise.all([cluster.wait([made]), keeper()]);
    await factory.drop();
    const mine = await cluster.get(made);
    const madeId = await idOf(mine);
    mine[Symbol.dispose]();
    expect(await reader.askThrough({ made })).toBe("pong");
    expect((await row(madeId)).state).toBe("ALIVE");
    made.dispose();
    await ended(madeId);
    const unread = factory.make.remote();
    await cluster.wait([unread]);
    const { length } = await living();
    await factory.drop();
    unread.dispose();
    await until("the one that nobody read is out of scope", async () => (await living()).length === length - 1);
    await Promise.all([cluster.kill(factory), cluster.kill(reader)]);
  });

  test("one that was passed to a constructor lives as long as that actor, through its restarts, also when it dropped it", async () => {
    const inner = await held();
    const innerId = await idOf(inner);
    const outer = await cluster
      .actor<Keeper>(MODULE, "Keeper")
      .options({ maxRestarts: 1, maxTaskRetries: -1 })
      .create(inner);
    inner[Symbol.dispose]();
    expect(await outer.ask()).toBe("pong");
    await cluster.kill(outer, { noRestart: false });
    expect(await outer.ask()).toBe("pong");
    await outer.drop();
    expect((await row(innerId)).state).toBe("ALIVE");
    await cluster.kill(outer);
    await ended(innerId);
  });

  test("an argument that is a ref to a handle is the callee's own when the call starts", async () => {
    const boxed = await held();
    const boxedId = await idOf(boxed);
    const box = await cluster.put(boxed);
    boxed[Symbol.dispose]();
    const one = await keeper();
    await one.keep(box);
    const two = await cluster.actor<Keeper>(MODULE, "Keeper").create(box);
    box.dispose();
    expect([await one.ask(), await two.ask()]).toEqual(["pong", "pong"]);
    await one.drop();
    expect((await row(boxedId)).state).toBe("ALIVE");
    await cluster.kill(two);
    await ended(boxedId);
    await cluster.kill(one);
  });

  test("a constructor's arguments of an actor that was there already, or that cannot be made, hold nothing", async () => {
    using named = await cluster.actor<Keeper>(MODULE, "Keeper").options({ name: "there" }).create();
    for (const options of [{ name: "there", getIfExists: true }, { name: "there" }]) {
      const inner = await held();
      const innerId = await idOf(inner);
      await cluster
        .actor<Keeper>(MODULE, "Keeper")
        .options(options)
        .create(inner)
        .catch(() => {});
      inner[Symbol.dispose]();
      await ended(innerId);
    }
    await cluster.kill(named);
  });
});

test("an actor with a name does not end with its handles", async () => {
  const named = await held({ name: "named" });
  named[Symbol.dispose]();
  using again = await cluster.getActor<Held>("named");
  expect(await again.ping()).toBe("pong");
  await cluster.kill(again);
});
