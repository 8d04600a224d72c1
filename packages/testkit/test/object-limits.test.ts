import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { type ActorHandle, type Cluster, GetTimeoutError, type ObjectRef, OutOfDiskError } from "whipray";
import { type RealCluster, startCluster } from "../src/real-cluster.io.ts";
import { endAfterEach } from "./end-after-each.ts";
import type { ObjectMaker } from "./fixtures/object-maker.ts";

const MAKER = new URL("./fixtures/object-maker.ts", import.meta.url);
const TEST_MS = 90_000;
const MIB = 1_048_576;
const LENGTH = (2 * MIB) / 8;
let real: RealCluster;

async function started(env: Record<string, string> = {}): Promise<Cluster> {
  const resources = { CPU: 2, object_store_memory: 16 * MIB };
  real = await startCluster({ raylets: [{ resources }], env });
  return real.connect({ namespace: "test" });
}

endAfterEach(() => real, TEST_MS);

function bytesIn(folder: string): number {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return files.reduce((sum, file) => sum + statSync(join(file.parentPath, file.name)).size, 0);
}

/** Puts a small disk there; false where this user may not. */
function smallDisk(folder: string, bytes: number): boolean {
  const { status } = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${bytes},mode=700`, "tmpfs", folder]);
  if (status === 0) onTestFinished(() => void spawnSync("umount", ["-l", folder]));
  return status === 0;
}

interface Full {
  readonly what: string;
  readonly quota: number;
  readonly disk?: number;
  readonly says: RegExp;
}
const FULL: Full[] = [
  { what: "a quota of spill files is used up", quota: 8 * MIB, says: /spill quota is used up/ },
  // The fourth object meets ENOSPC in its middle: the disk is not as full before that none is begun.
  { what: "the disk of spill files is full", quota: 1_024 * MIB, disk: 7 * MIB, says: /ENOSPC/ },
];
test.for(FULL)(
  "$what: put fails with OutOfDiskError, disposed objects make room, and every other one comes back",
  { timeout: TEST_MS },
  async ({ quota, disk, says }, context) => {
    const folder = mkdtempSync(join(tmpdir(), "wr-spill-full-"));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    if (disk !== undefined && !smallDisk(folder, disk)) return context.skip("no tmpfs may be mounted here");
    const driver = await started({ WHIPRAY_SPILL_DIRECTORY: folder, WHIPRAY_SPILL_BYTES: String(quota) });
    const refs: ObjectRef<Float64Array>[] = [];
    let refused: unknown;
    while (refused === undefined) {
      try {
        refs.push(await driver.put(new Float64Array(LENGTH).fill(refs.length)));
      } catch (error) {
        refused = error;
      }
    }
    expect(refused).toBeInstanceOf(OutOfDiskError);
    expect(refused).toMatchObject({ retryable: true, message: expect.stringMatching(says) });
    // Store and quota together, less what classes of sizes cost.
    expect(refs.length).toBeGreaterThanOrEqual(7);
    expect(bytesIn(folder)).toBeGreaterThan(0);
    expect(bytesIn(folder)).toBeLessThanOrEqual(disk ?? quota);
    for (const ref of refs.splice(0, 4)) ref.dispose();
    for (const [at, ref] of refs.entries()) {
      const got = await driver.get(ref);
      expect([got[0], got[LENGTH - 1]]).toEqual([at + 4, at + 4]);
      driver.release(got);
    }
    const again = await driver.put(new Float64Array(LENGTH).fill(-1));
    expect((await driver.get(again))[5]).toBe(-1);
    for (const ref of [...refs, again]) ref.dispose();
    await expect.poll(() => bytesIn(folder), { timeout: 20_000 }).toBe(0);
  },
);

test(
  "get of one and of a list, with a timeout; wait with numReturns and a timeout: of objects that are made, and of some that are not yet",
  async () => {
    const driver = await started();
    const actor: ActorHandle<ObjectMaker> = await driver.actor<ObjectMaker>(MAKER, "ObjectMaker").create();
    const ready = [1, 2].map((fill) => actor.make.remote(LENGTH, fill)) as ObjectRef<Float64Array>[];
    const late = actor.makeLater.remote(LENGTH, 3) as ObjectRef<Float64Array>;
    expect((await driver.get(ready)).map((values) => values[9])).toEqual([1, 2]);
    expect((await driver.get(ready[1]!))[0]).toBe(2);
    const all = [late, ...ready];
    const timedOut = await driver.get(all, { timeoutMs: 50 }).catch((error: unknown) => error);
    expect(timedOut).toBeInstanceOf(GetTimeoutError);
    expect((timedOut as Error).message).toMatch(/1 of 3 objects were not ready within 50 ms/);
    expect(await driver.wait(all, { numReturns: 2 })).toEqual([ready, [late]]);
    expect(await driver.wait(all, { numReturns: 3, timeoutMs: 50 })).toEqual([ready, [late]]);
    expect(await driver.wait([late], { timeoutMs: 0 })).toEqual([[], [late]]);
    await actor.open();
    expect(await driver.wait(all, { numReturns: 3 })).toEqual([all, []]);
    expect((await driver.get(late, { timeoutMs: 60_000 }))[1]).toBe(3);
  },
  TEST_MS,
);
