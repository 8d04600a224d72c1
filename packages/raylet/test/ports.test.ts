import { createServer } from "node:net";
import { join } from "node:path";
import { seededRandom } from "@whipray/core";
import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import { bindTest, PortFile } from "../src/port-file.io.ts";
import { PORTS_PER_OWNER_LIMIT, type PortLease, PortTable, portRange } from "../src/port-table.ts";
import { Ports } from "../src/ports.ts";
import { temporaryFolder } from "./temporary-folder.ts";

const SELF = { pid: process.pid, startTime: 1 };

function store(path: string, raylet: string, alive = (_pid: number, _start: number) => true, self = SELF) {
  const file = new PortFile(path, { raylet, ...self }, alive);
  onTestFinished(() => file.close());
  return file;
}

describe("the port table (mechanism 13)", () => {
  test.each([
    ["32768\t60999\n", { first: 10_000, last: 32_767 }],
    ["20000 60999", { first: 10_000, last: 19_999 }],
    [undefined, { first: 10_000, last: 32_767 }],
    ["garbage", { first: 10_000, last: 32_767 }],
  ])("ports lie below the ephemeral range %j", (text, range) => {
    expect(portRange(text)).toEqual(range);
  });

  test("a machine without room below it is told", () => {
    expect(() => portRange("1024 65535")).toThrow(expect.objectContaining({ code: "NO_PORT_RANGE" }));
  });

  test("no port has two holders, whatever the order; what was given back can be had again", () => {
    const step = fc.record({
      owner: fc.constantFrom("a", "b", "c"),
      raylet: fc.constantFrom("r", "s"),
      count: fc.nat(6),
      give: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), fc.nat(), (steps, seed) => {
        const table = new PortTable({ first: 10, last: 29 });
        const random = seededRandom(seed);
        const held: PortLease[] = [];
        for (const { owner, raylet, count, give } of steps) {
          if (give) {
            const given = new Set(table.give(owner, raylet));
            held.splice(0, held.length, ...held.filter((lease) => !given.has(lease.port)));
          } else if (held.length + count <= 20) {
            held.push(...table.take(count, owner, raylet, new Set(), random));
          } else {
            expect(() => table.take(count, owner, raylet, new Set(), random)).toThrow(/are left/);
          }
          expect(new Set(held.map((lease) => lease.port)).size).toBe(held.length);
          expect(table.leases().length).toBe(held.length);
        }
      }),
    );
  });

  test(`one owner holds at most ${PORTS_PER_OWNER_LIMIT}`, () => {
    const table = new PortTable({ first: 10_000, last: 32_767 });
    const take = (count: number) => table.take(count, "a", "r", new Set(), seededRandom(1));
    take(PORTS_PER_OWNER_LIMIT);
    expect(() => take(1)).toThrow(expect.objectContaining({ code: "PORT_LIMIT" }));
  });
});

describe("ports of one host", () => {
  test("two raylets that share the file never give out one port twice", async () => {
    const path = join(temporaryFolder(), "ports.db");
    const busy = new Set<number>();
    const make = (raylet: string, seed: number) => {
      return new Ports({
        store: store(path, raylet),
        probe: async (port) => !busy.has(port),
        random: seededRandom(seed),
        raylet,
      });
    };
    // The same seed: both begin at the same place.
    const [first, second] = [make("inc_a", 1), make("inc_b", 1)];
    const leases = await Promise.all([first, second, first, second].map((ports, at) => ports.lease(50, `owner ${at}`)));
    expect(new Set(leases.flat()).size).toBe(200);
  });

  test("F37 a port that somebody listens on is passed over", async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen({ port: 0, host: "127.0.0.1" }, resolve));
    onTestFinished(() => void server.close());
    const { port } = server.address() as { port: number };
    expect(await bindTest(port)).toBe(false);
    const asked: number[] = [];
    const probe = async (one: number) => asked.push(one) > 3;
    const ports = new Ports({
      store: store(join(temporaryFolder(), "p.db"), "inc_a"),
      probe,
      random: seededRandom(2),
      raylet: "inc_a",
    });
    const [leased] = await ports.lease(1, "a");
    expect(asked.length).toBe(4);
    expect(leased).toBe(asked[3]);
    expect(await bindTest(leased!)).toBe(true);
  });

  test("leases of a raylet that died are free again, those of a live one are not", async () => {
    const path = join(temporaryFolder(), "ports.db");
    const dead = new Ports({
      store: store(path, "inc_dead", undefined, { pid: 1, startTime: 5 }),
      probe: async () => true,
      random: seededRandom(3),
      raylet: "inc_dead",
    });
    const taken = await dead.lease(3, "a");
    const held = (alive: boolean) =>
      store(path, "inc_b", (pid) => pid !== 1 || alive).transact((table) => table.leases().map((lease) => lease.port));
    expect(held(true).sort()).toEqual(taken.sort());
    expect(held(false)).toEqual([]);
    expect(held(true)).toEqual([]);
  });

  test("a failure leaves nothing behind", async () => {
    const file = store(join(temporaryFolder(), "p.db"), "inc_a");
    const ports = new Ports({ store: file, probe: async () => false, random: seededRandom(4), raylet: "inc_a" });
    expect(await ports.lease(0, "a")).toEqual([]);
    const limited = new Ports({ store: file, probe: async () => true, random: seededRandom(4), raylet: "inc_a" });
    await expect(limited.lease(PORTS_PER_OWNER_LIMIT + 1, "a")).rejects.toMatchObject({ code: "PORT_LIMIT" });
    expect(file.transact((table) => table.leases())).toEqual([]);
    await expect(ports.lease(1, "a")).rejects.toMatchObject({ code: "PORTS_EXHAUSTED" });
    expect(file.transact((table) => table.leases())).toEqual([]);
  });
});
