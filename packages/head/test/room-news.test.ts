import fc from "fast-check";
import { expect, test } from "vitest";
import type { NodeRoom } from "../src/placement/room.ts";
import { GONE_KEPT, RoomTeller } from "../src/room-news.ts";
import { node } from "./rooms.ts";

const rowOf = ({ nodeId, free, labels }: NodeRoom) => ({ nodeId, labels, total: free, free, devices: [] });

/** What an asker has after an answer. */
function taken(
  known: Map<string, number>,
  { nodes, changed = [], gone = [] }: ReturnType<RoomTeller["news"]>,
): Map<string, number> {
  const rows = nodes ? new Map<string, number>() : new Map(known);
  for (const nodeId of gone) rows.delete(nodeId);
  for (const { nodeId, free } of nodes ?? changed) rows.set(nodeId, free["CPU"]!);
  return rows;
}

test("whoever asks, however seldom, has what is there; and is told only what changed", () => {
  const change = fc.tuple(
    fc.integer({ min: 0, max: 5 }),
    fc.option(fc.integer({ min: 1, max: 9 }), { nil: undefined }),
  );
  const turn = fc.record({ changes: fc.array(change, { maxLength: 3 }), asks: fc.integer({ min: 0, max: 2 }) });
  fc.assert(
    fc.property(fc.array(turn, { minLength: 1, maxLength: 30 }), (turns) => {
      const teller = new RoomTeller(rowOf);
      const rooms = new Map<string, NodeRoom>();
      const askers = [0, 1, 2].map(() => ({
        version: undefined as number | undefined,
        has: new Map<string, number>(),
      }));
      for (const { changes, asks } of turns) {
        for (const [at, cpus] of changes) {
          if (cpus === undefined) rooms.delete(`n${at}`);
          else rooms.set(`n${at}`, node(`n${at}`, { CPU: cpus }));
        }
        const asker = askers[asks]!;
        const before = asker.has;
        const answer = teller.news([...rooms.values()], asker.version);
        asker.has = taken(before, answer);
        expect(asker.has).toEqual(new Map([...rooms].map(([nodeId, { free }]) => [nodeId, free["CPU"]!])));
        if (answer.version === asker.version) expect(answer).toEqual({ version: answer.version });
        asker.version = answer.version;
      }
    }),
    { numRuns: 300, seed: 1 },
  );
});

test("of a thousand nodes the one that changed is told, and a row is made once a change", () => {
  let made = 0;
  const teller = new RoomTeller((room) => {
    made++;
    return rowOf(room);
  });
  const rooms = Array.from({ length: 1_000 }, (_, at) => node(`n${at}`, { CPU: 4 }));
  const { version } = teller.news(rooms, undefined);
  rooms[7] = node("n7", { CPU: 3 });
  for (let asker = 0; asker < 5; asker++)
    expect(teller.news(rooms, version).changed).toMatchObject([{ nodeId: "n7", free: { CPU: 30_000 } }]);
  expect(made).toBe(1_001);
});

test("who has not asked since more nodes left than are remembered is told all, and so is one with a version of another head", () => {
  const teller = new RoomTeller(rowOf);
  const stays = node("stays", { CPU: 1 });
  const { version } = teller.news([stays, node("left", { CPU: 1 })], undefined);
  for (let at = 0; at <= GONE_KEPT; at++) teller.news([stays, node(`n${at}`, { CPU: 1 })], undefined);
  expect(teller.news([stays], version).nodes).toMatchObject([{ nodeId: "stays" }]);
  expect(teller.news([stays], 1e9).nodes).toHaveLength(1);
});
