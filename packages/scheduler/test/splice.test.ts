import {
  OutcomeUnknownError,
  SimulatedClock,
  TaskCancelledError,
  WhiprayError,
  WorkerCrashedError,
} from "@whipray/core";
import { encodeHostRequest } from "@whipray/engine";
import { encodeStored, encodeValues, type Parts, type Peer, type ReplySink, StoredWire } from "@whipray/rpc";

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DOOR_TRIES, Splice } from "../src/splice.ts";

interface Sent {
  readonly name: string;
  settle(error?: Error): void;
}

/** A caller's two ways to an engine host: each keeps its own order, and delivers when the test says so. */
class World {
  readonly clock = new SimulatedClock();
  /** What arrived at the host, in that order. */
  readonly arrived: string[] = [];
  readonly running: Sent[] = [];
  readonly byServer: Sent[] = [];
  readonly straight: Sent[] = [];
  readonly asked: string[] = [];
  isNear = true;
  doorError: Error | undefined;
  whyCut: Error | undefined;
  /** Of the next straight calls: they wait in the host. */
  large = false;
  peer: FakePeer | undefined;
  readonly splice: Splice;

  constructor() {
    const callServer = (method: string, parts: Parts): Promise<Parts> => {
      if (method.startsWith("openDoor")) {
        this.asked.push(method);
        const door = { to: "n/engine", url: "unix:/door", token: "t" };
        return this.doorError ? Promise.reject(this.doorError) : Promise.resolve(encodeHostRequest(door));
      }
      if (method.startsWith("whyCut")) {
        this.asked.push(method);
        return this.whyCut ? Promise.reject(this.whyCut) : Promise.resolve(encodeHostRequest({}));
      }
      if (method.startsWith("giveResult")) {
        this.asked.push(method);
        return Promise.resolve(encodeValues("large"));
      }
      return new Promise((resolve, reject) => {
        this.byServer.push({
          name: nameOf(parts),
          settle: (error) => (error ? reject(error) : resolve(encodeValues(nameOf(parts)))),
        });
      });
    };
    const dialer = {
      near: () => this.isNear,
      dial: () => {
        this.peer = new FakePeer(this);
        return this.peer as unknown as Peer;
      },
    };
    this.splice = new Splice(callServer, dialer, this.clock);
  }

  /** The next call on this way reaches the host. */
  deliver(way: Sent[]): void {
    const next = way.shift();
    if (!next) return;
    if (next.name === "fence") next.settle();
    else {
      this.arrived.push(next.name);
      this.running.push(next);
    }
  }

  /** Everything that is under way arrives and ends. */
  async settleAll(): Promise<void> {
    for (let round = 0; round < 100; round++) {
      while (this.straight.length > 0) this.deliver(this.straight);
      while (this.byServer.length > 0) this.deliver(this.byServer);
      while (this.running.length > 0) this.running.shift()?.settle();
      await turns();
    }
  }

  /** The door is open. */
  async open(): Promise<void> {
    const first = this.call("first");
    await this.settleAll();
    await first;
    expect(this.splice.straight).toBeDefined();
    this.arrived.length = 0;
  }

  call(name: string, options = {}): Promise<Parts> {
    return this.splice.call(encodeValues(name), options);
  }

  ordered(name: string, options = {}): Promise<Parts> {
    return this.splice.ordered("createEngine", encodeValues(name), options);
  }
}

class FakePeer {
  closed = false;
  readonly #world: World;
  readonly #sinks = new Set<ReplySink>();
  #onClose: (error: WhiprayError) => void = () => {};

  constructor(world: World) {
    this.#world = world;
  }

  submit(_method: string, parts: Parts, _options: object, sink: ReplySink): void {
    this.#sinks.add(sink);
    const reply = (): Parts =>
      this.#world.large ? encodeStored(new StoredWire("result-1", "", "", 200_000, "engine")) : parts;
    this.#world.straight.push({
      name: nameOf(parts),
      settle: (error) => {
        if (!this.#sinks.delete(sink)) return;
        if (error) sink.reject(error as WhiprayError);
        else sink.resolve(reply());
      },
    });
  }

  call(method: string): Promise<Parts> {
    return new Promise((resolve, reject) => {
      const sink = { resolve, reject };
      this.#sinks.add(sink);
      this.#world.straight.push({ name: method, settle: () => void (this.#sinks.delete(sink) && resolve([])) });
    });
  }

  onClose(listener: (error: WhiprayError) => void): void {
    this.#onClose = listener;
  }

  /** As a session does: its calls fail first, then it tells. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    const lost = new WhiprayError({ code: "LINK_BROKEN", message: "broken", retryable: true });
    const sinks = [...this.#sinks];
    this.#sinks.clear();
    this.#world.straight.length = 0;
    for (const sink of sinks) sink.reject(new OutcomeUnknownError({ message: "it may have run", cause: lost }));
    this.#onClose(lost);
  }
}

describe("a caller's way straight to its engine", () => {
  test("opens after the first answer, and calls go straight from then on", async () => {
    const world = new World();
    await world.open();
    void world.call("a");
    expect(world.straight.map(({ name }) => name)).toEqual(["a"]);
    expect(world.asked).toEqual(["openDoor"]);
  });

  test("a far engine is never asked for a door", async () => {
    const world = new World();
    world.isNear = false;
    const call = world.call("a");
    await world.settleAll();
    await call;
    expect(world.asked).toEqual([]);
  });

  test("a door that does not open is asked for a few times, and the calls go by the server", async () => {
    const world = new World();
    world.doorError = new Error("no engine");
    for (let n = 0; n < DOOR_TRIES + 3; n++) {
      const call = world.call(`${n}`);
      await world.settleAll();
      await call;
    }
    expect(world.asked).toHaveLength(DOOR_TRIES);
  });

  test("while a call is under way by the server, later ones go there too", async () => {
    const world = new World();
    await world.open();
    void world.ordered("by server");
    void world.call("behind");
    expect(world.straight).toEqual([]);
    expect(world.byServer.map(({ name }) => name)).toEqual(["by server", "behind"]);
    await world.settleAll();
    void world.call("straight again");
    expect(world.straight.map(({ name }) => name)).toEqual(["straight again"]);
  });

  test("a call by the server waits until the straight ones before it are in the host's queue, not until they ran", async () => {
    const world = new World();
    await world.open();
    void world.call("long");
    void world.ordered("behind");
    void world.call("last");
    await turns();
    expect(world.byServer).toEqual([]);
    world.deliver(world.straight);
    world.deliver(world.straight);
    await turns();
    expect(world.byServer.map(({ name }) => name)).toEqual(["behind", "last"]);
    expect(world.running.map(({ name }) => name)).toEqual(["long"]);
  });

  test("a call that is held can be cancelled, and its deadline counts: it is never sent", async () => {
    const world = new World();
    await world.open();
    void world.call("long");
    const stop = new AbortController();
    const cancelled = expect(world.ordered("cancelled", { signal: stop.signal })).rejects.toBeInstanceOf(
      TaskCancelledError,
    );
    const late = expect(world.ordered("late", { timeoutMs: 50 })).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED" });
    const rest = world.ordered("rest", { timeoutMs: 1_000 });
    stop.abort();
    world.clock.advance(60);
    await Promise.all([cancelled, late]);
    await world.settleAll();
    await rest;
    expect(world.arrived).toEqual(["long", "rest"]);
  });

  test("a large result is fetched by the server", async () => {
    const world = new World();
    await world.open();
    world.large = true;
    const call = world.call("large");
    world.deliver(world.straight);
    world.running.shift()?.settle();
    await call;
    expect(world.asked.at(-1)).toBe("giveResult");
  });

  test("a cut tells what became of the engine, as the server knows it; later calls go by the server", async () => {
    const world = new World();
    await world.open();
    const death = new WorkerCrashedError({ message: "signal SIGKILL" });
    world.whyCut = death;
    const cut = expect(world.call("cut")).rejects.toBe(death);
    world.peer?.close();
    await cut;
    void world.call("later");
    expect(world.byServer.map(({ name }) => name)).toEqual(["later"]);
  });

  test("a cut of which nobody knows why leaves the outcome open, and is never taken for one that did not start", async () => {
    for (const why of [undefined, new WhiprayError({ code: "UNREACHABLE", message: "no worker", retryable: true })]) {
      const world = new World();
      await world.open();
      world.whyCut = why;
      const cut = expect(world.call("cut")).rejects.toMatchObject({ code: "OUTCOME_UNKNOWN", retryable: false });
      world.peer?.close();
      await cut;
    }
  });

  test("whatever is cut, answered and delivered when: each call arrives at most once, in the order in which it was made", async () => {
    const step = fc.constantFrom(
      "small",
      "small",
      "ordered",
      "straight",
      "straight",
      "server",
      "answer",
      "answer",
      "turn",
      "cut",
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const world = new World();
        await world.open();
        const made: string[] = [];
        const outcomes: Promise<string>[] = [];
        for (const [at, what] of steps.entries()) {
          if (what === "small" || what === "ordered") {
            made.push(`${at}`);
            const call = what === "small" ? world.call(`${at}`) : world.ordered(`${at}`);
            outcomes.push(
              call.then(
                () => "done",
                (error: WhiprayError) => error.code,
              ),
            );
          } else if (what === "straight") world.deliver(world.straight);
          else if (what === "server") world.deliver(world.byServer);
          else if (what === "answer") world.running.splice(at % Math.max(1, world.running.length), 1)[0]?.settle();
          else if (what === "cut") world.peer?.close();
          else await turns();
        }
        await world.settleAll();
        const ends = await Promise.all(outcomes);
        const cut = steps.includes("cut");
        expect(new Set(world.arrived).size).toBe(world.arrived.length);
        expect(world.arrived).toEqual(made.filter((name) => world.arrived.includes(name)));
        for (const [at, end] of ends.entries()) {
          if (end === "done") expect(world.arrived).toContain(made[at]);
          else expect([cut, end]).toEqual([true, "OUTCOME_UNKNOWN"]);
        }
      }),
      { numRuns: 500 },
    );
  });
});

function nameOf(parts: Parts): string {
  return Buffer.from(parts[0]!.subarray(1)).toString();
}

/** Lets everything that was settled go on. */
async function turns(): Promise<void> {
  for (let n = 0; n < 20; n++) await undefined;
}
