import { expect, test } from "vitest";
import { StreamOutbox } from "../src/stream-outbox.ts";

const bytes = (length: number, value: number): Uint8Array => new Uint8Array(length).fill(value);
const taken = (outbox: StreamOutbox): number[] => outbox.take().flatMap((buffer) => [...buffer]);

test("small pieces leave as one buffer, a large one uncopied between them", () => {
  const outbox = new StreamOutbox();
  const large = bytes(5_000, 9);
  outbox.add([bytes(3, 1), bytes(100, 2)]);
  outbox.add([bytes(2, 3), large, bytes(1, 4)]);
  expect(outbox.bytes).toBe(5_106);
  const buffers = outbox.take();
  expect(buffers.map((buffer) => buffer.length)).toEqual([105, 5_000, 1]);
  expect(buffers[1]).toBe(large);
  expect([outbox.bytes, outbox.take()]).toEqual([0, []]);
});

test("outboxes that write in turns do not mix, and what was taken stays as it was", () => {
  const [one, two] = [new StreamOutbox(), new StreamOutbox()];
  for (let round = 0; round < 3; round++) {
    one.add([bytes(2, 1)]);
    two.add([bytes(2, 2)]);
  }
  const first = one.take();
  one.add([bytes(2, 7)]);
  expect(first.flatMap((buffer) => [...buffer])).toEqual([1, 1, 1, 1, 1, 1]);
  expect(taken(two)).toEqual([2, 2, 2, 2, 2, 2]);
  expect(taken(one)).toEqual([7, 7]);
});

test("more than a slab holds is all there; what was cleared is not", () => {
  const outbox = new StreamOutbox();
  outbox.add([bytes(10, 5)]);
  outbox.clear();
  for (let i = 0; i < 100; i++) outbox.add([bytes(4_000, i)]);
  expect(taken(outbox)).toEqual(Array.from({ length: 100 }, (_, i) => [...bytes(4_000, i)]).flat());
});
