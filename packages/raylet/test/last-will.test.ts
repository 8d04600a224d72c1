import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "@whipray/core";
import { expect, test } from "vitest";
import { ChildProcesses } from "../src/child-processes.io.ts";
import { lastWill } from "../src/last-will.io.ts";
import { MemoryLog } from "../src/memory-logs.ts";
import { processesWith } from "../src/process-table.io.ts";
import { RAYLET_MARK } from "../src/runtime-directory.ts";
import { temporaryFolder, until } from "./temporary-folder.ts";

const PATH = process.env["PATH"]!;

async function stray(processes: ChildProcesses, incarnation: string): Promise<void> {
  const log = new MemoryLog("memory:x");
  const env = { PATH, [RAYLET_MARK]: incarnation };
  const child = await processes.spawn({ command: "/bin/sh", args: ["-c", "(setsid sleep 60 &)"], env, cwd: "/", log });
  await child.exited;
}

const marked = async (incarnation: string) => (await processesWith(RAYLET_MARK, incarnation)).found.length;

/** A raylet's folder, as its owner's file says. */
function folderOf(incarnation: string): string {
  const folder = join(temporaryFolder(), "node");
  mkdirSync(join(folder, "logs"), { recursive: true });
  writeFileSync(join(folder, "owner.json"), JSON.stringify({ nodeId: "node_a", inc: incarnation }));
  writeFileSync(join(folder, "logs", "worker.log"), "last words\n");
  return folder;
}

test("a last will ends what carries its mark, and nobody else; told to end now, it leaves the folder to its raylet", async () => {
  const folder = folderOf("inc_mine");
  const options = { cluster: "cluster_a", incarnation: "inc_mine", folder, path: PATH };
  const processes = new ChildProcesses(systemClock, () => lastWill(options));
  await stray(processes, "inc_mine");
  await stray(processes, "inc_mine2");
  expect(await marked("inc_mine")).toBe(1);
  await processes.close();
  expect(await marked("inc_mine")).toBe(0);
  expect(await processes.sweep(RAYLET_MARK, "inc_mine2", 5_000)).toEqual({ killed: 1, left: 0 });
  expect(existsSync(folder)).toBe(true);
});

test.each([
  ["its folder goes too", "inc_parent", []],
  ["a folder that a raylet which came back has taken over stays", "inc_successor", ["node"]],
])(
  "F1 F24 SIGKILL of a raylet: what a worker started in a session of its own is gone, with no raylet to look for it; %s",
  async (_, owner, left) => {
    const folder = folderOf(owner);
    const will = { cluster: "cluster_will", incarnation: "inc_parent", folder };
    const processes = new ChildProcesses(systemClock);
    const log = new MemoryLog("memory:x");
    const args = [new URL("./dying-parent.ts", import.meta.url).pathname, "will", JSON.stringify(will)];
    const parent = await processes.spawn({ command: process.execPath, args, env: { PATH }, cwd: "/", log });
    await until("the stray process", () => log.errorTail().join("\n").includes("stray"), 25_000);
    expect(await marked("inc_parent")).toBe(1);
    const shells = async () => (await processesWith("WHIPRAY_CLUSTER", "cluster_will")).found.length;
    expect(await shells()).toBe(1);
    process.kill(parent.pid, "SIGKILL");
    await parent.exited;
    const untilMs = performance.now() + 10_000;
    while ((await marked("inc_parent")) + (await shells()) > 0) {
      if (performance.now() > untilMs) throw new Error("it is still there");
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    expect(readdirSync(join(folder, ".."))).toEqual(left);
  },
  60_000,
);
