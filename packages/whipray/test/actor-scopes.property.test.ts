import { SimulatedClock } from "@whipray/core";
import type { ActorHandleWire, Endpoint, Peer } from "@whipray/rpc";
import fc from "fast-check";
import { expect, test } from "vitest";
import { ActorScopes } from "../src/actor-scopes.ts";

const ACTOR = "actor_1";
const PROCESSES = 4;

type Request = { actorId: string };
type Handler = (request: Request, call: { peer: Peer }) => unknown;

/** An object at its owner, with a handle in it. */
interface Box {
  readonly owner: number;
  readonly id: string;
  readonly wire: ActorHandleWire;
}

/** Processes whose messages to each other arrive when the test says so; those of one to another in their order. */
class Net {
  readonly mail: (() => void)[][] = [];
  ended = 0;
  /** Handles that count, by process. */
  readonly held: number[] = Array(PROCESSES).fill(0);
  readonly scopes: ActorScopes[];
  readonly boxes: Box[] = [];
  readonly #doors = new Map<string, Handler>();
  #objects = 0;

  constructor() {
    const clock = new SimulatedClock();
    this.scopes = this.held.map((_, at) => {
      const address = `node_a/p${at}`;
      const peer = { address, incarnation: `inc_${at}` } as Peer;
      const endpoint = {
        address,
        incarnation: `inc_${at}`,
        serve: ({ name }: { name: string }, handler: Handler) => this.#doors.set(`${address} ${name}`, handler),
        connect: ({ to }: { to: string }) => ({
          onReset: () => {},
          onClose: () => {},
          invoke: ({ name }: { name: string }, request: Request) =>
            new Promise((resolve) => {
              this.#send(at, Number(to.at(-1)), () => resolve(this.#doors.get(`${to} ${name}`)!(request, { peer })));
            }),
        }),
      } as unknown as Endpoint;
      return new ActorScopes({ endpoint, viaUrl: "memory:", end: () => this.ended++, clock, headIsAway: () => false });
    });
    this.scopes[0]!.made(ACTOR);
    this.held[0] = 1;
  }

  get needed(): boolean {
    return this.held.some((count) => count > 0) || this.passing > 0 || this.boxes.length > 0;
  }
  passing = 0;

  pass(from: number, to: number): void {
    if (this.held[from] === 0) return;
    const wire = this.scopes[from]!.lend(ACTOR);
    this.passing++;
    this.mail.push([
      () => {
        this.passing--;
        expect(this.scopes[to]!.received(wire)).toBe(true);
        this.held[to]!++;
      },
    ]);
  }

  /** `owner` puts a handle of its own. */
  put(owner: number): void {
    if (this.held[owner] === 0) return;
    const id = `obj_${++this.#objects}`;
    const wire = this.scopes[owner]!.keeping(id, () => this.scopes[owner]!.lend(ACTOR));
    this.boxes.push({ owner, id, wire });
  }

  /** `from` returns a handle, and the result is an object of `owner`. */
  result(from: number, owner: number): void {
    if (this.held[from] === 0) return;
    const id = `obj_${++this.#objects}`;
    const wire = this.scopes[from]!.lend(ACTOR);
    this.scopes[owner]!.keep(id, wire);
    this.boxes.push({ owner, id, wire });
  }

  /** Whoever gets a value has it when his loan is known, unless the object ended meanwhile. */
  async read(nth: number, reader: number): Promise<void> {
    const box = this.boxes[nth % this.boxes.length];
    if (!box) return;
    expect(this.scopes[reader]!.read(box.wire)).toBe(true);
    const settled = this.scopes[reader]!.settled;
    while (this.mail.length > 0 && this.scopes[reader]!.settled) {
      this.deliver(0);
      await settle();
    }
    await settled;
    if (this.boxes.includes(box)) this.held[reader]!++;
    else this.scopes[reader]!.released(ACTOR);
  }

  free(nth: number): void {
    const [box] = this.boxes.splice(nth % (this.boxes.length || 1), 1);
    if (box) this.scopes[box.owner]!.forget(box.id);
  }

  dispose(at: number): void {
    if (this.held[at] === 0) return;
    this.held[at]!--;
    this.scopes[at]!.released(ACTOR);
  }

  deliver(which: number): void {
    const at = which % (this.mail.length || 1);
    this.mail[at]?.shift()?.();
    if (this.mail[at]?.length === 0) this.mail.splice(at, 1);
  }

  readonly #queues = new Map<string, (() => void)[]>();
  #send(from: number, to: number, message: () => void): void {
    const key = `${from} ${to}`;
    const known = this.#queues.get(key);
    if (known && this.mail.includes(known)) known.push(message);
    else {
      const queue = [message];
      this.#queues.set(key, queue);
      this.mail.push(queue);
    }
  }
}

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const process = fc.integer({ min: 0, max: PROCESSES - 1 });
const step = fc.oneof(
  fc.record({ pass: fc.tuple(process, process) }),
  fc.record({ put: process }),
  fc.record({ result: fc.tuple(process, process) }),
  fc.record({ read: fc.tuple(fc.nat(9), process) }),
  fc.record({ free: fc.nat(9) }),
  fc.record({ dispose: process }),
  fc.record({ deliver: fc.nat(20) }),
);

test("whoever passes handles on, puts and reads them, in whatever order messages arrive: the actor ends once, after the last and never before", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const net = new Net();
      for (const one of steps) {
        if ("pass" in one) net.pass(...one.pass);
        else if ("put" in one) net.put(one.put);
        else if ("result" in one) net.result(...one.result);
        else if ("read" in one) await net.read(...one.read);
        else if ("free" in one) net.free(one.free);
        else if ("dispose" in one) net.dispose(one.dispose);
        else net.deliver(one.deliver);
        if (net.needed) expect(net.ended).toBe(0);
      }
      while (net.mail.length > 0 || net.needed) {
        while (net.mail.length > 0) net.deliver(0);
        expect(net.ended).toBe(net.needed ? 0 : 1);
        for (let at = 0; at < PROCESSES; at++) net.dispose(at);
        net.free(0);
      }
      expect(net.ended).toBe(1);
    }),
    { numRuns: 500 },
  );
});
