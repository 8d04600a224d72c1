import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { Garbage } from "./view-collector.ts";

/** V8's collector, asked for the first time when it is needed. User code sees no `gc`. */
export function systemGarbage(): Garbage {
  let collect: (() => void) | undefined;
  let before = performance.eventLoopUtilization();
  return {
    collect() {
      collect ??= exposed();
      collect();
    },
    load() {
      const now = performance.eventLoopUtilization();
      const { utilization } = performance.eventLoopUtilization(now, before);
      before = now;
      return utilization;
    },
  };
}

function exposed(): () => void {
  setFlagsFromString("--expose-gc");
  try {
    return runInNewContext("gc") as () => void;
  } finally {
    setFlagsFromString("--no-expose-gc");
  }
}
