import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { systemClock, systemRandom } from "@whipray/core";
import { describe, expect, onTestFinished, test } from "vitest";
import { ChildProcesses } from "../src/child-processes.io.ts";
import { MemoryLog } from "../src/memory-logs.ts";
import { processesWith } from "../src/process-table.io.ts";
import { openNode } from "../src/real-node.io.ts";
import { NODE_MARK } from "../src/runtime-directory.ts";
import { WHOLE } from "./fake-node.ts";
import { realRaylet } from "./real-raylet.ts";
import { temporaryFolder, until } from "./temporary-folder.ts";

async function startRaylet() {
  const started = await realRaylet(temporaryFolder());
  onTestFinished(started.stop);
  return started;
}

describe("a raylet of real processes", () => {
  test("registers what it found, starts a worker, and leaves nothing behind", async () => {
    const { registrations, start, directory, stop, left } = await startRaylet();
    expect(registrations[0]).toMatchObject({
      ip: "127.0.0.1",
      total: { CPU: 4 * WHOLE, GPU: 2 * WHOLE },
      devices: [{ vendor: "fake" }, {}],
    });
    const { answer } = await start("Counter");
    expect(answer).toMatchObject({ ok: true, pid: expect.any(Number), inc: expect.stringMatching(/^inc_/) });
    const log = `${directory.logs}/${answer.address!.split("/")[1]}.log`;
    await until("its log", () => existsSync(log) && readFileSync(log, "utf8") === "hosting Counter with 0\n");
    await stop();
    expect(await left()).toBe(0);
    expect(existsSync(directory.node)).toBe(false);
  });

  test("F21 a crash in the constructor: exit code, last lines and the log's path", async () => {
    const { start } = await startRaylet();
    const { answer } = await start("Crashes");
    expect(answer).toMatchObject({
      ok: false,
      failed: {
        kind: "WORKER_DIED",
        exitCode: 11,
        stderrTail: ["cannot go on"],
        logPath: expect.stringContaining("/logs/worker_"),
      },
    });
    expect(Object.keys(answer.view.devices).length).toBe(2);
  });

  test("a constructor that raises keeps its error's type and message", async () => {
    const { start } = await startRaylet();
    const { answer } = await start("Raises");
    expect(answer.failed).toMatchObject({
      kind: "CREATION_FAILED",
      message: expect.stringContaining("bad weights"),
      error: { name: "TypeError" },
    });
  });

  test("F24 SIGKILL of an actor: its engine and what that started are gone before the head is told", async () => {
    const { start, ended, left, raylet } = await startRaylet();
    const { answer, spec } = await start("Engine");
    expect(answer.ok).toBe(true);
    expect(raylet.counts.engines).toBe(1);
    process.kill(answer.pid!, "SIGKILL");
    await until("the head was told", () => ended.find((one) => one.actorId === spec.actorId));
    expect(ended[0]).toMatchObject({ cause: { kind: "WORKER_DIED", signal: "SIGKILL" } });
    expect(Object.keys(ended[0]!.view.devices).length).toBe(2);
    expect(raylet.counts.engines).toBe(0);
    // The blank worker at most.
    expect(await left()).toBeLessThanOrEqual(1);
  });

  test("a kill by the head answers when nothing is left of it", async () => {
    const { start, kill, raylet, left } = await startRaylet();
    const { spec } = await start("Engine");
    const { found, view } = await kill(spec.actorId);
    expect([found, Object.keys(view.devices).length, raylet.counts.actors]).toEqual([true, 2, 0]);
    expect(await left()).toBeLessThanOrEqual(1);
  });

  test("F1 SIGKILL of the raylet: workers, engines and what those started are gone; the next raylet finds a clean host", async () => {
    const root = temporaryFolder();
    const log = new MemoryLog("memory:raylet");
    const entry = fileURLToPath(new URL("./lone-raylet.ts", import.meta.url));
    const env = { PATH: process.env["PATH"]!, HOME: process.env["HOME"]! };
    const spec = { command: process.execPath, args: [entry, root], env, cwd: root, log, dieWithParent: false };
    const raylet = await new ChildProcesses(systemClock).spawn(spec);
    const nodeId = await until(
      "its engine",
      () => /running on (node_\w+)/.exec(log.errorTail().join("\n"))?.[1],
      25_000,
    );
    // Actor, guard, engine and its child, perhaps a blank worker.
    expect((await processesWith(NODE_MARK, nodeId)).found.length).toBeGreaterThanOrEqual(4);
    process.kill(raylet.pid, "SIGKILL");
    await raylet.exited;
    const next = await openNode({
      ...{
        cluster: "cluster_test",
        nodeId: "node_next",
        incarnation: "inc_next",
        version: "0",
        runtimeRoot: root,
        env,
      },
      ...{ clock: systemClock, random: systemRandom, guardFile: "/none", ip: "127.0.0.1" },
    });
    onTestFinished(async () => {
      await next.guards.close();
      next.ports.close();
      await next.close(false);
    });
    expect(next.swept).toMatchObject({ nodes: [nodeId], stuck: [] });
    expect((await processesWith(NODE_MARK, nodeId)).found).toEqual([]);
  }, 60_000);
});
