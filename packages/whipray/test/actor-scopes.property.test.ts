import type { ActorHandleWire, Endpoint } from "@whipray/rpc";
import fc from "fast-check";
import { expect, test } from "vitest";
import { ActorScopes } from "../src/actor-scopes.ts";

const ACTOR = "actor_1";
const PROCESSES = 4;

type Returned = { actorId: string; loans: string[] };

/** Processes whose messages to each other arrive when the test says so. */
class Net {
  readonly mail: (() => void)[] = [];
  ended = 0;
  readonly held: number[] = Array(PROCESSES).fill(0);
  readonly scopes: ActorScopes[];
  readonly #doors = new Map<string, (request: Returned) => unknown>();

  constructor() {
    this.scopes = this.held.map((_, at) => {
      const address = `node_a/p${at}`;
      const endpoint = {
        address,
        serve: (_method: unknown, handler: (request: Returned) => unknown) => this.#doors.set(address, handler),
        connect: ({ to }: { to: string }) => ({
          invoke: async (_method: unknown, request: Returned) =>
            void this.mail.push(() => this.#doors.get(to)!(request)),
        }),
      } as unknown as Endpoint;
      return new ActorScopes({ endpoint, viaUrl: "memory:", end: () => this.ended++ });
    });
    this.scopes[0]!.made(ACTOR);
    this.held[0] = 1;
  }

  get needed(): boolean {
    return this.held.some((count) => count > 0) || this.passing > 0;
  }
  passing = 0;

  pass(from: number, to: number): void {
    if (this.held[from] === 0) return;
    const wire: ActorHandleWire = this.scopes[from]!.lend(ACTOR);
    this.passing++;
    this.mail.push(() => {
      this.passing--;
      expect(this.scopes[to]!.received(wire)).toBe(true);
      this.held[to]!++;
    });
  }

  dispose(at: number): void {
    if (this.held[at] === 0) return;
    this.held[at]!--;
    this.scopes[at]!.released(ACTOR);
  }

  deliver(which: number): void {
    if (this.mail.length > 0) this.mail.splice(which % this.mail.length, 1)[0]!();
  }
}

const process = fc.integer({ min: 0, max: PROCESSES - 1 });
const step = fc.oneof(
  fc.record({ pass: fc.tuple(process, process) }),
  fc.record({ dispose: process }),
  fc.record({ deliver: fc.nat(20) }),
);

test("whoever passes handles on and in whatever order messages arrive: the actor ends once, after the last handle and never before", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const net = new Net();
      for (const one of steps) {
        if ("pass" in one) net.pass(...one.pass);
        else if ("dispose" in one) net.dispose(one.dispose);
        else net.deliver(one.deliver);
        if (net.needed) expect(net.ended).toBe(0);
      }
      while (net.mail.length > 0 || net.needed) {
        while (net.mail.length > 0) net.deliver(0);
        expect(net.ended).toBe(net.needed ? 0 : 1);
        for (let at = 0; at < PROCESSES; at++) net.dispose(at);
      }
      expect(net.ended).toBe(1);
    }),
    { numRuns: 500 },
  );
});
