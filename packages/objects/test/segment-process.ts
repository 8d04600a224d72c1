import { ftruncateSync, openSync } from "node:fs";
import { type SegmentPlace, SegmentWriter } from "../src/index.ts";
import { procMapper } from "../src/proc-mapper.io.ts";

/** Another process of the machine: does to segments what its parent says, and answers with what came of it. */
type Order =
  | { do: "write"; place: SegmentPlace; parts: number[][] }
  | { do: "sum"; place: SegmentPlace; bytes: number }
  | { do: "truncate"; place: SegmentPlace };

const writer = new SegmentWriter(procMapper);
const kept: unknown[] = [];

process.on("message", (order: Order) => {
  try {
    process.send?.({ result: obey(order) });
  } catch (error) {
    process.send?.({ error: (error as { code?: string }).code });
  }
});

function obey(order: Order): number {
  if (order.do === "write") {
    writer.write(
      order.place,
      order.parts.map((part) => Uint8Array.from(part)),
    );
    return order.parts.length;
  }
  if (order.do === "truncate") {
    ftruncateSync(openSync(`/proc/${order.place.pid}/fd/${order.place.fd}`, "r+"), 0);
    return 0;
  }
  const { memory } = procMapper.readable(order.place, order.bytes);
  kept.push(memory);
  return new Uint8Array(memory).reduce((sum, byte) => sum + byte, 0);
}
