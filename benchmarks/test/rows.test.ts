import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { ALL_STEPS } from "../src/vs-ray/all-steps.ts";
import { loopOf, ROWS } from "../src/vs-ray/rows.ts";

const path = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** The 31 rows of Ray 2.58's microbenchmark, spec/ray.md section 6.1. */
const OF_RAY = [
  "single client get calls (Plasma Store)",
  "single client put calls (Plasma Store)",
  "multi client put calls (Plasma Store)",
  "single client put gigabytes",
  "single client tasks and get batch",
  "multi client put gigabytes",
  "single client get object containing 10k refs",
  "single client wait 1k refs",
  "single client tasks sync",
  "single client tasks async",
  "multi client tasks async",
  "1:1 actor calls sync",
  "1:1 actor calls async",
  "1:1 actor calls concurrent",
  "1:n actor calls async",
  "n:n actor calls async",
  "n:n actor calls with arg async",
  "1:1 async-actor calls sync",
  "1:1 async-actor calls async",
  "1:1 async-actor calls with args async",
  "1:n async-actor calls async",
  "n:n async-actor calls async",
  "placement group create/removal",
  "client: get calls",
  "client: put calls",
  "client: put gigabytes",
  "client: tasks and get batch",
  "client: tasks and put batch",
  "client: 1:1 actor calls sync",
  "client: 1:1 actor calls async",
  "client: 1:1 actor calls concurrent",
];

describe("the rows", () => {
  it("all 31 of Ray's microbenchmark are there, ids are unique", () => {
    expect(OF_RAY.filter((name) => !ROWS.some((row) => row.name === name))).toEqual([]);
    expect(OF_RAY).toHaveLength(31);
    expect(new Set(ROWS.map(({ id }) => id)).size).toBe(ROWS.length);
  });

  it("every row has its loop on both sides, and no loop is without a row", () => {
    const loops = [...new Set(ROWS.map(loopOf))].sort();
    expect(Object.keys(ALL_STEPS).sort()).toEqual(loops);
    const code =
      "import json, ray_far, ray_growth, ray_open_loop, ray_own_rows, ray_rows; print(json.dumps(sorted(ray_rows.ROWS)))";
    const printed = execFileSync(path("../../.venv/bin/python"), ["-B", "-c", code], {
      env: { ...process.env, PYTHONPATH: `${path("./fake-ray")}:${path("../ray")}` },
      encoding: "utf8",
    });
    expect(JSON.parse(printed)).toEqual(loops);
  });
});
