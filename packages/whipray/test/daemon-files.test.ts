import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { WhiprayError } from "@whipray/core";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openClusterDirectory, readClusterFile } from "../src/node/cluster-file.io.ts";
import { parseDaemonConfig } from "../src/node/daemon-config.ts";
import { daemonRuns, processStartTime, readDaemonState, writeDaemonState } from "../src/node/daemon-state.io.ts";
import { parseJoinString, showJoinString } from "../src/node/join-string.ts";
import { requireSafe } from "../src/node/safe-bind.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "df-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    return (error as WhiprayError).code;
  }
  return "";
}

test("a head's directory opened again is the same cluster; its file is its user's alone", () => {
  const first = openClusterDirectory(join(folder, "head"));
  expect(openClusterDirectory(join(folder, "head"))).toEqual(first);
  expect(statSync(join(folder, "head/cluster.json")).mode & 0o777).toBe(0o600);
});

test("a cluster file that others can read, or that is damaged, is refused and left as it is", () => {
  const directory = join(folder, "head");
  openClusterDirectory(directory);
  chmodSync(join(directory, "cluster.json"), 0o644);
  expect(codeOf(() => readClusterFile(directory))).toBe("CLUSTER_FILE_UNSAFE");
  chmodSync(join(directory, "cluster.json"), 0o600);
  for (const text of ["", "{", "[]", "null", '{"clusterId":"cluster_a","secret":"x"}']) {
    writeFileSync(join(directory, "cluster.json"), text);
    expect(codeOf(() => openClusterDirectory(directory))).toBe("CLUSTER_FILE_DAMAGED");
  }
});

test("a join string comes back as it went; others are refused without being repeated", () => {
  const identity = { clusterId: "cluster_abc", token: "a".repeat(64) };
  expect(parseJoinString(`${showJoinString(identity)}\n`)).toEqual(identity);
  for (const text of [
    "",
    "cluster_abc",
    `node_abc:${"a".repeat(64)}`,
    "cluster_abc:geheim",
    `cluster_abc:${"a".repeat(64)}:x`,
  ]) {
    expect(codeOf(() => parseJoinString(text))).toBe("INVALID_JOIN_TOKEN");
    expect(() => parseJoinString(text)).not.toThrow("geheim");
  }
});

test("a pid counts only with its start time", () => {
  const startTime = processStartTime(process.pid)!;
  expect(daemonRuns({ pid: process.pid, startTime })).toBe(true);
  expect(daemonRuns({ pid: process.pid, startTime: startTime + 1 })).toBe(false);
});

test("a state file comes back as it was written; anything else is none", () => {
  const path = join(folder, "sub/state.json");
  const state = { kind: "head", state: "starting", pid: 1, startTime: 2 } as const;
  expect(readDaemonState(path)).toBeUndefined();
  writeDaemonState(path, state);
  expect(readDaemonState(path)).toEqual(state);
  writeFileSync(path, '{"kind":"dog","pid":1,"startTime":2}');
  expect(readDaemonState(path)).toBeUndefined();
});

test("a daemon refuses a configuration that is not its own, naming what is wrong", () => {
  const head = { kind: "head", stateFile: "/s", directory: "/d", host: "127.0.0.1", port: 0, tied: false };
  expect(parseDaemonConfig(JSON.stringify(head), "head")).toEqual(head);
  expect(() => parseDaemonConfig(JSON.stringify({ ...head, directory: "" }), "head")).toThrow("directory");
  for (const text of ["", "3", "null", JSON.stringify(head)]) {
    expect(codeOf(() => parseDaemonConfig(text, "raylet"))).toBe("INVALID_CONFIG");
  }
});

test("a bind beyond loopback needs a permission", () => {
  for (const host of ["127.0.0.1", "127.0.0.2", "::1", "[::1]", "localhost"])
    expect(codeOf(() => requireSafe(host, false))).toBe("");
  for (const host of ["0.0.0.0", "::", "10.0.0.1", "example.org"]) {
    expect(codeOf(() => requireSafe(host, false))).toBe("INSECURE_BIND");
    expect(codeOf(() => requireSafe(host, true))).toBe("");
  }
});
