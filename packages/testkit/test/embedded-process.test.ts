import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { snapshot, waitUntilClean } from "../src/leak-check.io.ts";
import { describeLeaks } from "../src/leak-check.ts";
import { anyRuns, marked, until } from "./outside.ts";
import { DEATH_MS, PATIENCE_MS } from "./stage.ts";

const EMBEDDING = fileURLToPath(new URL("./fixtures/embedding.ts", import.meta.url));
const TEST_MS = 90_000;
let folder: string;
let program: ChildProcess | undefined;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "we-"));
});

afterEach(() => {
  program?.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
});

/** A program that embeds a cluster, with a runtime directory of its own. */
function start(mode: "wait" | "block" | "orphan") {
  const env = { ...process.env, WHIPRAY_RUNTIME_DIR: folder };
  const child = spawn(process.execPath, [EMBEDDING, mode], { cwd: folder, env, stdio: ["ignore", "pipe", "inherit"] });
  program = child;
  let said = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  return { child, exited: once(child, "close"), said: () => said };
}

test(
  "SIGKILL of a program that embeds a cluster: worker, engine, guard and what the engine planted are gone in 10 s, files too",
  async () => {
    const places = { directories: [folder], shared: [join(folder, "host"), join(folder, "embedding.mark")] };
    const before = snapshot(places);
    const { child, exited, said } = start("wait");
    await until("it has an engine", PATIENCE_MS, () => said().includes("\n"));
    const { clusterId, worker, engine, planted } = JSON.parse(said());
    const pids = [worker, engine, planted];
    expect(pids.every((pid) => anyRuns([pid]))).toBe(true);
    child.kill("SIGKILL");
    await exited;
    await until("worker, engine and planted are gone", DEATH_MS, () => !anyRuns(pids));
    const left = await waitUntilClean(before, { clusterId, ...places, deadlineMs: DEATH_MS });
    expect(describeLeaks(left)).toBe("");
  },
  TEST_MS,
);

test(
  "SIGKILL of a program whose first worker was started, and its raylet not yet: the worker is gone in 10 s",
  async () => {
    const { exited, said } = start("orphan");
    expect(await exited).toEqual([null, "SIGKILL"]);
    const entries = readdirSync(folder, { recursive: true, encoding: "utf8" });
    expect(entries.filter((name) => name.endsWith("raylet.sock"))).toEqual([]); // it was early enough
    const worker = Number(said());
    expect(worker).toBeGreaterThan(0);
    const family = (): number[] => marked(`WHIPRAY_RUNTIME_DIR=${folder}`);
    await until("the worker is gone", DEATH_MS, () => !anyRuns([worker]) && !anyRuns(family()));
  },
  TEST_MS,
);

test(
  "mechanism 6: a program whose main thread is blocked for 20 s loses nothing: the same worker and engine answer, the node was never dead",
  async () => {
    const { exited, said } = start("block");
    expect(await exited).toEqual([0, null]);
    const { before, after, nodes } = JSON.parse(said());
    expect(after).toEqual(before);
    expect(nodes).toEqual(["ALIVE"]);
  },
  TEST_MS,
);
