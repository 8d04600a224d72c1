import { fileURLToPath } from "node:url";
import { systemClock, type WhiprayError } from "@whipray/core";
import { expect, test } from "vitest";
import { startCluster } from "../src/real-cluster.io.ts";

const PRELOAD = fileURLToPath(new URL("./fixtures/die-at-start.cjs", import.meta.url));
/** Of a start that nobody notices to have failed. */
const LIMIT_MS = 60_000;
const TEST_MS = 90_000;

async function failure(env: Record<string, string>): Promise<{ error: unknown; tookMs: number }> {
  const startedAt = systemClock.now();
  const starting = startCluster({ raylets: [{}, { foreign: true }], env });
  const error = await starting.then(
    (cluster) => cluster.stop().then(() => "it started"),
    (thrown: unknown) => thrown,
  );
  return { error, tookMs: systemClock.now() - startedAt };
}

test(
  "a head that ends at once ends the start, with its exit code and the last lines of its log",
  async () => {
    const { error, tookMs } = await failure({ NODE_OPTIONS: "--no-such-option" });
    expect(error).toMatchObject({ code: "DAEMON_ENDED", details: { kind: "head", code: 9 } });
    expect(String(error)).toMatch(/exit code 9 while it started; its log \S+head\.log ended with\n.*--no-such-option/s);
    expect(tookMs).toBeLessThan(LIMIT_MS);
  },
  TEST_MS,
);

for (const folder of ["r0", "r1"]) {
  test(
    `a raylet that ends while it starts (${folder}) ends the start, and the other raylet with it`,
    async () => {
      const { error, tookMs } = await failure({ NODE_OPTIONS: `--require ${PRELOAD}`, DIES_IN: `/${folder}/` });
      expect(error).toMatchObject({ code: "DAEMON_ENDED", details: { kind: "raylet" } });
      expect(String(error)).toContain("the last words of a raylet");
      const { details } = error as WhiprayError;
      // A foreign one is the first process of its namespace where `unshare` allows: that one exits.
      expect(details["signal"] === "SIGKILL" || (folder === "r1" && details["code"] !== 0)).toBe(true);
      expect(tookMs).toBeLessThan(LIMIT_MS);
    },
    TEST_MS,
  );
}

test(
  "a head that is killed while raylets start ends the start: they would wait for it in vain",
  async () => {
    const { error, tookMs } = await failure({ NODE_OPTIONS: `--require ${PRELOAD}`, DIES_IN: "/r0/", DIES: "head" });
    expect(error).toMatchObject({ code: "DAEMON_DIED", details: { kind: "head", signal: "SIGKILL" } });
    expect(tookMs).toBeLessThan(LIMIT_MS);
  },
  TEST_MS,
);
