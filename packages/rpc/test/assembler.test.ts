import { expect, test } from "vitest";
import { FLAG, type Frame, KIND } from "../src/index.ts";
import { Assembler, PARTIALS_LIMIT } from "../src/session/assembler.ts";

const frame = (kind: number, sequence: number, body: number[] = []): Frame => {
  const flags = kind === KIND.REQUEST || kind === KIND.CHUNK ? 0 : FLAG.FROM_CALLEE;
  return { route: 1, kind, flags, sequence, header: new Uint8Array(0), body: Uint8Array.from(body) };
};
const answerChunk = (sequence: number, body: number[]): Frame => ({
  ...frame(KIND.CHUNK, sequence, body),
  flags: FLAG.FROM_CALLEE,
});
const never = (): void => {
  throw new Error("it is not whole");
};

test("a message that a cut broke off goes on at the byte that was told, and is whole once", () => {
  const assembler = new Assembler();
  assembler.begin(frame(KIND.REQUEST, 3), [2, 0, 4], 0, never);
  assembler.chunk(frame(KIND.CHUNK, 3, [1, 2, 3]));
  assembler.begin(frame(KIND.REPLY, 3), [3], 0, never);
  assembler.chunk(answerChunk(3, [9]));
  assembler.suspend();
  expect(assembler.partials()).toEqual({ calls: [[3, 3]], answers: [[3, 1]] });
  const whole: number[][][] = [];
  const done = (parts: Uint8Array[]): void => void whole.push(parts.map((part) => [...part]));
  assembler.begin(frame(KIND.REQUEST, 3), [2, 0, 4], 3, done);
  assembler.chunk(frame(KIND.CHUNK, 3, [4, 5, 6]));
  assembler.begin(frame(KIND.REPLY, 3), [3], 1, done);
  assembler.chunk(answerChunk(3, [8, 7]));
  expect(whole).toEqual([[[1, 2], [], [3, 4, 5, 6]], [[9, 8, 7]]]);
  expect(assembler.partials()).toEqual({ calls: [], answers: [] });
});

test("the same message may come again whole, and an answer may turn out to be an error", () => {
  const assembler = new Assembler();
  assembler.begin(frame(KIND.REPLY, 1), [2], 0, never);
  assembler.chunk(answerChunk(1, [1]));
  assembler.suspend();
  let got: Uint8Array[] = [];
  assembler.begin(frame(KIND.REPLY, 1), [2], 0, (parts) => {
    got = parts;
  });
  assembler.chunk(answerChunk(1, [5, 6]));
  expect(got.map((part) => [...part])).toEqual([[5, 6]]);
  assembler.begin(frame(KIND.REPLY, 2), [2], 0, never);
  assembler.chunk(answerChunk(2, [1]));
  assembler.suspend();
  assembler.forget(2);
  expect(assembler.partials().answers).toEqual([]);
});

test.each([
  ["another byte", KIND.REQUEST, [2, 4], 2],
  ["other lengths", KIND.REQUEST, [3, 3], 3],
  ["an unknown call", KIND.REPLY, [2, 4], 3],
])("to go on with %s is refused", (_, kind, lengths, at) => {
  const assembler = new Assembler();
  assembler.begin(frame(KIND.REQUEST, 1), [2, 4], 0, never);
  assembler.chunk(frame(KIND.CHUNK, 1, [1, 2, 3]));
  const wrong = expect.objectContaining({ code: "FRAME_PARTS" });
  expect(() => assembler.begin(frame(KIND.REQUEST, 1), [2, 4], 3, never)).toThrow(wrong); // no cut yet
  assembler.suspend();
  expect(() => assembler.chunk(frame(KIND.CHUNK, 1, [4]))).toThrow(wrong);
  expect(() => assembler.begin(frame(kind, 1), lengths, at, never)).toThrow(wrong);
});

test("items come again whole, and PARTIALS_LIMIT messages are told of", () => {
  const assembler = new Assembler();
  assembler.begin(frame(KIND.ITEM, 1), [2], 0, never);
  assembler.chunk(answerChunk(1, [1]));
  for (let sequence = 2; sequence < PARTIALS_LIMIT + 10; sequence++) {
    assembler.begin(frame(KIND.REQUEST, sequence), [2], 0, never);
    assembler.chunk(frame(KIND.CHUNK, sequence, [1]));
  }
  assembler.suspend();
  const { calls, answers } = assembler.partials();
  expect([calls.length, answers.length]).toEqual([PARTIALS_LIMIT, 0]);
});
