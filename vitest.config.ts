import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: [
      "packages/*/test/**/*.test.ts",
      "examples/*/test/**/*.test.ts",
      "scripts/test/**/*.test.ts",
      "benchmarks/test/**/*.test.ts",
    ],
    testTimeout: 30_000,
    hookTimeout: 30_000,
    setupFiles: ["scripts/vitest/leak-hook.ts"],
    pool: "forks",
    // Process tests wait for others more than they compute.
    maxWorkers: 3,
    teardownTimeout: 10_000,
    // A condition is waited for with patience: its one second would be a measure of speed.
    expect: { poll: { timeout: 20_000 } },
  },
});
