import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ActorRow } from "@whipray/rpc";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type ActorHandle, ActorHandleNotFoundError, type ActorOptions, type Cluster, init } from "../src/index.ts";
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

describe("what does not end with its handles", () => {
  test("an actor with a name, and one whose handle lies in an object or went into a constructor", async () => {
    const named = await held({ name: "named" });
    named[Symbol.dispose]();
    using again = await cluster.getActor<Held>("named");
    const boxed = await held();
    const boxedId = await idOf(boxed);
    const box = await cluster.put({ handle: boxed });
    boxed[Symbol.dispose]();
    const reader = await keeper();
    expect(await reader.readFrom(box)).toBe("pong");
    expect(await reader.readFrom(box)).toBe("pong");
    expect((await row(boxedId)).state).toBe("ALIVE");
    expect(await again.ping()).toBe("pong");
    await cluster.kill(again);
    await cluster.kill(reader);
  });
});
