import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { delay, systemClock } from "@whipray/core";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { init } from "../src/index.ts";
import type { Sample } from "./sample-actor.ts";

const PATIENCE_MS = 30_000;
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "whipray-compiled-"));
  vi.stubEnv("NODE_COMPILE_CACHE", folder);
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

test("workers leave their compiled code behind as soon as they are up, also where each actor lives for a moment only", async () => {
  const written = (): number =>
    readdirSync(folder, { recursive: true, withFileTypes: true }).filter((e) => e.isFile()).length;
  await using cluster = await init({ numCpus: 2 });
  const actor = await cluster.actor<Sample>(new URL("./sample-actor.ts", import.meta.url), "Sample").create(1);
  await cluster.ready(actor);
  await cluster.kill(actor);
  const giveUpAt = systemClock.now() + PATIENCE_MS;
  while (written() === 0 && systemClock.now() < giveUpAt) await delay(systemClock, 20);
  expect(written()).toBeGreaterThan(0);
}, 60_000);
