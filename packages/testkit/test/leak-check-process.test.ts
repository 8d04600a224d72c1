import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterEach, expect, test } from "vitest";
import { sessionsNow, snapshot, waitUntilClean } from "../src/leak-check.io.ts";

const ESCAPE = fileURLToPath(new URL("fixtures/escape.py", import.meta.url));
const planted: number[] = [];
const folders: string[] = [];

afterEach(() => {
  for (const pid of planted.splice(0)) process.kill(pid, "SIGKILL");
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

/** Starts the escaping grandchild and answers where it is; its parents are gone by then. */
async function plant(how: string, clusterId: string): Promise<{ pid: number; session: number }> {
  const env = { ...process.env, WHIPRAY_CLUSTER: clusterId };
  const { stdout } = await promisify(execFile)("python3", [ESCAPE, how, "300"], { env });
  const [pid = 0, session = 0] = stdout.split(" ").map(Number);
  planted.push(pid);
  return { pid, session };
}

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "leak-"));
  folders.push(path);
  return path;
}

test("a grandchild that double-forked, called setsid and closed its descriptors is found, and gone when killed", async () => {
  const clusterId = `cluster_${randomUUID()}`;
  const before = snapshot();
  const { pid } = await plant("inherit", clusterId);
  const left = await waitUntilClean(before, { clusterId, deadlineMs: 0 });
  expect(left).toHaveLength(1);
  expect(left[0]).toMatchObject({
    kind: "process",
    name: String(pid),
    foundBy: `environ WHIPRAY_CLUSTER=${clusterId}`,
  });
  expect(left[0]?.process?.cmdline).toBe("sleep 300");
  process.kill(planted.pop() ?? 0, "SIGKILL");
  expect(await waitUntilClean(before, { clusterId, deadlineMs: 10_000 })).toEqual([]);
});

test("one that wiped its environment is found by the session that was seen before", async () => {
  const clusterId = `cluster_${randomUUID()}`;
  const before = snapshot();
  const { pid, session } = await plant("wipe", clusterId);
  expect(await waitUntilClean(before, { clusterId, deadlineMs: 0 })).toEqual([]);
  const left = await waitUntilClean(before, { clusterId, sessions: [session], deadlineMs: 0 });
  expect(left).toMatchObject([{ name: String(pid), foundBy: `session ${session}` }]);
});

test("one with its own session and no environment is found by the file that it holds", async () => {
  const clusterId = `cluster_${randomUUID()}`;
  const directory = folder();
  const file = join(directory, "lock");
  const before = snapshot({ directories: [directory] });
  writeFileSync(file, "");
  const { pid } = await plant(`hold:${file}`, clusterId);
  const left = await waitUntilClean(before, { clusterId, directories: [directory], deadlineMs: 0 });
  expect(left).toMatchObject([
    { name: String(pid), foundBy: `holds ${file}` },
    { kind: "file", name: file, foundBy: "exists, held by a leaked process" },
  ]);
});

test("sessions of a running cluster are learned while it runs", async () => {
  const clusterId = `cluster_${randomUUID()}`;
  const before = snapshot();
  const { session } = await plant("inherit", clusterId);
  expect(sessionsNow(before, { clusterId })).toEqual([session]);
});

test("a listening socket and a file in a runtime directory are found, and gone when closed", async () => {
  const directory = folder();
  const before = snapshot({ directories: [directory] });
  const path = join(directory, "raylet.sock");
  const server = createServer().listen(path);
  await new Promise((resolve) => server.once("listening", resolve));
  const scope = { clusterId: "cluster_none", directories: [directory] };
  const left = await waitUntilClean(before, { ...scope, deadlineMs: 0 });
  expect(left.map(({ kind, name }) => [kind, name])).toEqual([
    ["socket", path],
    ["file", path],
  ]);
  await new Promise((resolve) => server.close(resolve));
  expect(await waitUntilClean(before, { ...scope, deadlineMs: 10_000 })).toEqual([]);
});
