import { existsSync, mkdirSync, readdirSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "@whipray/core";
import { describe, expect, test } from "vitest";
import { ChildProcesses } from "../src/child-processes.io.ts";
import { MemoryLog } from "../src/memory-logs.ts";
import { MemoryProcesses } from "../src/memory-processes.ts";
import { processesWith, statOf } from "../src/process-table.io.ts";
import { closeRuntimeDirectory, openRuntimeDirectory, writeSecret } from "../src/runtime-directory.io.ts";
import {
  NODE_MARK,
  parseOwner,
  runtimeDirectory,
  runtimeRoot,
  SOCKET_PATH_LIMIT_BYTES,
} from "../src/runtime-directory.ts";
import { temporaryFolder } from "./temporary-folder.ts";

const CLUSTER = "cluster_0123456789abcdef";
const processes = new ChildProcesses(systemClock);
const me = { pid: process.pid, startTime: statOf(process.pid)!.startTime };
const owner = (nodeId: string, inc = "inc_a", self = me) => ({ cluster: CLUSTER, nodeId, inc, ...self });

describe("names", () => {
  test("the root is the user's runtime directory, never /tmp (threat model)", () => {
    expect(runtimeRoot({ XDG_RUNTIME_DIR: "/run/user/7" }, "/home/a")).toBe("/run/user/7/whipray");
    expect(runtimeRoot({ XDG_RUNTIME_DIR: "relative" }, "/home/a")).toBe("/home/a/.cache/whipray");
    expect(runtimeRoot({ WHIPRAY_RUNTIME_DIR: "/x" }, "/home/a")).toBe("/x");
  });

  test("every socket path fits into 108 bytes, else the error names length and limit", () => {
    const longest = `/${"x".repeat(64)}`;
    const directory = runtimeDirectory(longest, CLUSTER, "node_0123456789abcdef");
    const path = directory.workerSocket("worker_0123456789abcdef");
    expect(Buffer.byteLength(path) + 1).toBeLessThanOrEqual(SOCKET_PATH_LIMIT_BYTES);
    const attempt = () => runtimeDirectory(`${longest}xxx`, CLUSTER, "node_0123456789abcdef");
    expect(attempt).toThrow(
      expect.objectContaining({ code: "SOCKET_PATH_TOO_LONG", details: expect.objectContaining({ limit: 108 }) }),
    );
  });

  test.each(["relative", "/a\0b"])("root %j is refused", (root) => {
    expect(() => runtimeDirectory(root, CLUSTER, "node_a")).toThrow(expect.objectContaining({ code: "INVALID_PATH" }));
  });

  test.each(["", "null", "[]", '{"pid":1}', '{"cluster":"../x"}'])("an owner file with %j is nobody's", (text) => {
    expect(parseOwner(text)).toBeUndefined();
  });
});

describe("the folders of a raylet", () => {
  test("are 0700, secrets 0600, and gone at the end; logs stay when they are wanted", async () => {
    const root = join(temporaryFolder(), "whipray");
    const directory = runtimeDirectory(root, CLUSTER, "node_a");
    await openRuntimeDirectory(directory, owner("node_a"), processes);
    for (const folder of [root, directory.node, directory.logs, directory.locks])
      expect(statSync(folder).mode & 0o777).toBe(0o700);
    await writeSecret(directory.secret("token"), "x");
    expect(statSync(directory.secret("token")).mode & 0o777).toBe(0o600);
    await expect(writeSecret(directory.secret("token"), "y")).rejects.toMatchObject({ code: "EEXIST" });
    await closeRuntimeDirectory(directory, true);
    expect(readdirSync(directory.node)).toEqual(["logs"]);
    await closeRuntimeDirectory(directory, false);
    expect(existsSync(directory.node)).toBe(false);
  });

  test("a root that is a link is refused", async () => {
    const folder = temporaryFolder();
    mkdirSync(join(folder, "real"));
    symlinkSync(join(folder, "real"), join(folder, "link"));
    const directory = runtimeDirectory(join(folder, "link"), CLUSTER, "node_a");
    await expect(openRuntimeDirectory(directory, owner("node_a"), processes)).rejects.toMatchObject({
      code: "RUNTIME_DIRECTORY_UNSAFE",
    });
  });

  test("a folder whose raylet lives is not taken over", async () => {
    const directory = runtimeDirectory(temporaryFolder(), CLUSTER, "node_a");
    await openRuntimeDirectory(directory, owner("node_a", "inc_a"), processes);
    const again = openRuntimeDirectory(directory, owner("node_a", "inc_b"), processes);
    await expect(again).rejects.toMatchObject({ code: "NODE_ID_IN_USE" });
  });

  test("F5 what a dead raylet left is killed before anything is offered; a live one's is not", async () => {
    const root = temporaryFolder();
    const dead = { pid: 2 ** 22 + 1, startTime: 7 };
    const folders = [runtimeDirectory(root, CLUSTER, "node_dead"), runtimeDirectory(root, CLUSTER, "node_live")];
    for (const [at, folder] of folders.entries()) {
      mkdirSync(folder.node);
      const self = at === 0 ? dead : me;
      writeFileSync(
        join(folder.node, "owner.json"),
        JSON.stringify(owner(at === 0 ? "node_dead" : "node_live", "inc_x", self)),
      );
    }
    const leave = async (nodeId: string) => {
      const args = ["-c", "(setsid sleep 60 &); exit 0"];
      const log = new MemoryLog("memory:x");
      const child = await processes.spawn({
        command: "/bin/sh",
        args,
        env: { [NODE_MARK]: nodeId, PATH: "/usr/bin:/bin" },
        cwd: "/",
        log,
      });
      await child.exited;
      expect((await processesWith(NODE_MARK, nodeId)).found.length).toBe(1);
    };
    await leave("node_dead");
    await leave("node_live");
    const directory = runtimeDirectory(root, CLUSTER, "node_new");
    const report = await openRuntimeDirectory(directory, owner("node_new"), processes);
    expect(report).toEqual({ nodes: ["node_dead"], killed: 1, stuck: [] });
    expect((await processesWith(NODE_MARK, "node_dead")).found).toEqual([]);
    expect(existsSync(folders[0]!.node)).toBe(false);
    expect(await processes.sweep(NODE_MARK, "node_live", 5_000)).toEqual({ killed: 1, left: 0 });
  });

  test("P6, F5: what cannot be killed of a dead raylet is told, and its folder stays for the next look", async () => {
    const root = temporaryFolder();
    const dead = runtimeDirectory(root, CLUSTER, "node_dead");
    const memory = new MemoryProcesses();
    await openRuntimeDirectory(dead, owner("node_dead"), memory);
    memory.sweepOutcome = { killed: 0, left: 2 };
    const next = await openRuntimeDirectory(runtimeDirectory(root, CLUSTER, "node_new"), owner("node_new"), memory);
    expect(next).toEqual({ nodes: ["node_dead"], killed: 0, stuck: ["node_dead"] });
    expect(existsSync(dead.node)).toBe(true);
  });
});
