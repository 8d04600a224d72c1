import { silentLogger, systemClock } from "@whipray/core";
import {
  layoutBytes,
  MemfdSegments,
  MemorySpill,
  NodeStore,
  ObjectViews,
  procMapper,
  SegmentWriter,
} from "@whipray/objects";

/**
 * `node benchmarks/src/objects.ts`: what the store's parts do in one process, beside memcpy of the same run. Put copies into a
 * segment that is warm (used before, as in a program that goes on) or fresh; get maps and looks at both ends. Prints, judges nothing.
 */
const MIB = 1_048_576;
/** Of 800 MiB; smaller ones take more. */
const FEWEST_ROUNDS = 7;

let made = 0;
const store = new NodeStore({
  limits: { capacityBytes: 4_096 * MIB, diskBytes: 0, segments: 100, objects: 1_000, patienceMs: 0, warmMs: 60_000 },
  segments: new MemfdSegments("bench", () => `${process.pid}-${++made}`),
  spill: new MemorySpill(),
  clock: systemClock,
  logger: silentLogger,
});
const writer = new SegmentWriter(procMapper);
const views = new ObjectViews(procMapper, (object) => store.detach(object, "us"));

/** Seconds of the middle one of some rounds. */
async function median(rounds: number, work: () => Promise<void> | void): Promise<number> {
  const seconds: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const startedAt = performance.now();
    await work();
    seconds.push((performance.now() - startedAt) / 1_000);
  }
  return seconds.sort((a, b) => a - b)[rounds >> 1]!;
}

async function put(object: string, part: Uint8Array): Promise<void> {
  const place = await store.create({ object, owner: "us", creator: "us", bytes: layoutBytes([part]) });
  writer.write(place, [part]);
  store.seal(object, "us");
}

async function get(object: string): Promise<void> {
  const { place, bytes } = await store.attach(object, "us");
  const [part] = views.open(object, place, bytes);
  if (part?.[0] !== part?.at(-1)) throw new Error("read something else than was written");
  views.release(object);
}

console.log("size        memcpy      put warm    of memcpy   put fresh   get (view)");
for (const mib of [1, 64, 800]) {
  const part = new Uint8Array(mib * MIB).fill(7);
  const target = new Uint8Array(mib * MIB).fill(1);
  const gigabytes = part.byteLength / 1e9;
  const rounds = FEWEST_ROUNDS + Math.round(800 / mib);
  const memcpy = gigabytes / (await median(rounds, () => target.set(part)));
  const freshAt = performance.now();
  await put("obj_fresh", part);
  const fresh = (gigabytes / (performance.now() - freshAt)) * 1_000;
  store.free("obj_fresh");
  const warm = await median(rounds, async () => {
    await put("obj_warm", part);
    store.free("obj_warm");
  });
  await put("obj_got", part);
  const got = await median(rounds, () => get("obj_got"));
  store.free("obj_got");
  const share = `${Math.round((gigabytes / warm / memcpy) * 100)} %`;
  const cells = [`${mib} MiB`, `${memcpy.toFixed(1)} GB/s`, `${(gigabytes / warm).toFixed(1)} GB/s`, share];
  console.log(
    [...cells, `${fresh.toFixed(2)} GB/s`, `${Math.round(got * 1e6)} µs`].map((cell) => cell.padEnd(12)).join(""),
  );
}
writer.close();
await store.close();
