import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { BATCH, openRawLimits } from "../limits/raw.ts";
import { openTcpCopy } from "../limits/tcp.ts";
import type { LimitId } from "./rows.ts";

const run = promisify(execFile);
const MEMCPY_BYTES = 64 * 1_048_576;
const TCP_BYTES = 64 * 1_048_576;

/** What this machine can do at best, in the units of the rows beside it. */
export interface Limits {
  rate(id: LimitId, seconds: number): Promise<number>;
  close(): void;
}

export async function openLimits(): Promise<Limits> {
  const [raw, tcp] = await Promise.all([openRawLimits(), openTcpCopy(TCP_BYTES)]);
  let memory: { from: Uint8Array; to: Uint8Array } | undefined;
  const steps: Record<LimitId, { per: number; step: () => unknown }> = {
    ping: { per: 1, step: () => raw.ping() },
    frames: { per: BATCH, step: () => raw.batch() },
    "two-hop": { per: 1, step: () => raw.twoHop() },
    memcpy: {
      per: MEMCPY_BYTES / 1e9,
      step: () => {
        // Both written before, so the pages are there: memcpy into warm pages.
        memory ??= { from: new Uint8Array(MEMCPY_BYTES).fill(7), to: new Uint8Array(MEMCPY_BYTES).fill(1) };
        memory.to.set(memory.from);
      },
    },
    tcp: { per: TCP_BYTES / 1e9, step: () => tcp.copy() },
    "node-start": { per: 1, step: () => run(process.execPath, ["-e", "0"]) },
  };
  return {
    async rate(id, seconds) {
      const { per, step } = steps[id];
      await step();
      const startedAt = performance.now();
      let count = 0;
      do {
        await step();
        count++;
      } while (performance.now() - startedAt < seconds * 1_000);
      return (count * per * 1_000) / (performance.now() - startedAt);
    },
    close() {
      raw.close();
      tcp.close();
    },
  };
}
