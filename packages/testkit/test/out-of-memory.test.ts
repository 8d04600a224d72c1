import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { ActorDiedError, init, OutOfMemoryError } from "whipray";
import type { Hoarder, hoard } from "./fixtures/hoarder.ts";
import { MemoryGroup } from "./memory-group.ts";
import { until } from "./outside.ts";
import { PATIENCE_MS, skipBecause } from "./stage.ts";

const HOARDER = new URL("./fixtures/hoarder.ts", import.meta.url);
const LIMIT_BYTES = 200_000_000;
const TEST_MS = 90_000;
const folder = mkdtempSync(join(tmpdir(), "wm-"));
let group: MemoryGroup | undefined;

afterEach(async () => {
  await until("the kernel lets the group go", PATIENCE_MS, () => {
    try {
      group?.remove();
      return true;
    } catch {
      return false; // who was killed is not reaped yet
    }
  });
  rmSync(folder, { recursive: true, force: true });
});

test(
  "a task and an actor that the kernel ends for want of memory fail with OutOfMemoryError (ray.md 3.4)",
  async (context) => {
    try {
      group = new MemoryGroup(`whipray-test-${process.pid}`, LIMIT_BYTES);
    } catch (error) {
      skipBecause(context, `no control group for memory can be made here: ${String(error)}`);
    }
    await using cluster = await init({ numCpus: 2 });
    const task = cluster.task<typeof hoard>(HOARDER, "hoard").options({ maxRetries: 0 });
    const actor = await cluster.actor<Hoarder>(HOARDER, "Hoarder").create();
    const runs: [string, (file: string, go: string) => Promise<number>][] = [
      ["task", task],
      ["actor", actor.hoard],
    ];
    const errors: unknown[] = [];
    for (const [name, hoarding] of runs) {
      const [file, go] = [join(folder, name), join(folder, `${name}.go`)];
      const ended = hoarding(file, go).catch((error: unknown) => error);
      await until(`the ${name} runs`, PATIENCE_MS, () => existsSync(file) && readFileSync(file, "utf8") !== "");
      const pid = readFileSync(file, "utf8");
      // Not the raylet, which tells of it, is to be ended first (Ray).
      expect(readFileSync(`/proc/${pid}/oom_score_adj`, "utf8").trim()).toBe("1000");
      group!.take(Number(pid));
      writeFileSync(go, "");
      errors.push(await ended);
    }
    const [ofTask, ofActor] = errors;
    expect(ofTask).toBeInstanceOf(OutOfMemoryError);
    expect(ofTask).toMatchObject({ code: "OUT_OF_MEMORY", message: expect.stringContaining("for want of memory") });
    expect(ofActor).toBeInstanceOf(ActorDiedError);
    expect(ofActor).toMatchObject({ cause: expect.any(OutOfMemoryError), details: { cause: "OUT_OF_MEMORY" } });
  },
  TEST_MS,
);
