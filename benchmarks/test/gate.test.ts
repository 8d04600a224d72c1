import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { expect, onTestFinished, test } from "vitest";
import { familyCpuMs } from "../src/gate/cpu.ts";
import { FALLEN_PART, fallen, type GateRows, gate } from "../src/gate/gate.ts";

const RECORDED = JSON.parse(readFileSync(new URL("../gate.json", import.meta.url), "utf8")) as GateRows;
/** Some seconds on an idle machine. */
const GATE_MS = 240_000;

test(
  "no main figure has fallen below a third of what was recorded beside its raw limit",
  async () => {
    const first = fallen(RECORDED, await gate());
    // Twice in a row, or it was the machine.
    if (first.length > 0) expect(fallen(RECORDED, await gate()), first.join("; ")).toEqual([]);
  },
  GATE_MS,
);

test("a row that falls beyond the bound is named, and one that is missing, and no other", () => {
  const recorded = { a: 0.6, b: 0.3, c: 0.3 };
  expect(fallen(recorded, { a: 0.6 * FALLEN_PART + 0.001, b: 0.3 * FALLEN_PART - 0.001, d: 0 })).toEqual([
    "b: 0.099 of its raw limit in processor time; recorded were 0.300",
    "c: nothing of its raw limit in processor time; recorded were 0.300",
  ]);
});

test("processor time of a child counts", async () => {
  const before = familyCpuMs(process.pid);
  const child = spawn(process.execPath, ["-e", "for (;;);"], { stdio: "ignore" });
  onTestFinished(() => void child.kill("SIGKILL"));
  await expect.poll(() => familyCpuMs(process.pid) - before, { timeout: 20_000 }).toBeGreaterThan(200);
  expect(familyCpuMs(child.pid!)).toBeGreaterThan(0);
});
