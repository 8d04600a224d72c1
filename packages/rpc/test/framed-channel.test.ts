import { expect, test } from "vitest";
import { FramedChannel, type Pipe } from "../src/framed-channel.ts";
import { StreamOutbox } from "../src/stream-outbox.ts";
import { CHANNEL_HIGH_WATER_BYTES } from "../src/transport.ts";

const FRAME_BYTES = 100;

class FakePipe implements Pipe {
  readonly remote = "fake";
  readonly eagerBytes = 1_000;
  readonly outbox = new StreamOutbox();
  pendingBytes = 0;
  readonly writes: number[] = [];

  write(): void {
    this.writes.push(this.outbox.take().reduce((sum, buffer) => sum + buffer.length, 0));
  }
  resume(): void {}
  end(): void {}
  destroy(): void {}
}

function channelOn(pipe: FakePipe): FramedChannel {
  const channel = new FramedChannel(() => pipe);
  channel.start({ onFrame: () => {}, onDrain: () => {}, onClose: () => {} });
  return channel;
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("what is sent in one turn leaves in one write after it", async () => {
  const pipe = new FakePipe();
  const channel = channelOn(pipe);
  for (let i = 0; i < 5; i++) channel.send([new Uint8Array(FRAME_BYTES)]);
  expect(pipe.writes).toEqual([]);
  await turn();
  expect(pipe.writes).toEqual([500]);
});

test("as soon as eagerBytes wait they are written, while the turn goes on", async () => {
  const pipe = new FakePipe();
  const channel = channelOn(pipe);
  for (let i = 0; i < 23; i++) channel.send([new Uint8Array(FRAME_BYTES)]);
  expect(pipe.writes).toEqual([1_000, 1_000]);
  await turn();
  expect(pipe.writes).toEqual([1_000, 1_000, 300]);
});

test("above the high-water mark nothing is written early: the other side does not keep up", async () => {
  const pipe = new FakePipe();
  const channel = channelOn(pipe);
  pipe.pendingBytes = CHANNEL_HIGH_WATER_BYTES;
  for (let i = 0; i < 23; i++) channel.send([new Uint8Array(FRAME_BYTES)]);
  expect(pipe.writes).toEqual([]);
  await turn();
  expect(pipe.writes).toEqual([2_300]);
});
