import { execFileSync } from "node:child_process";
import { mkdirSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import { deviceLocks } from "../src/device-locks.io.ts";
import { lockFile } from "../src/lock-file.io.ts";
import { temporaryFolder } from "./temporary-folder.ts";

const OWN = "/home/a/.cache/whipray/host/locks";
type Found = { uid?: number; mode?: number; folder?: boolean };
const machine = (folders: Record<string, Found>) => (path: string) => {
  const found = folders[path];
  return found && { uid: found.uid ?? 0, mode: found.mode ?? 0o41777, isDirectory: () => found.folder ?? true };
};

test.each<[string, Record<string, Found>, string]>([
  ["the first that is for all users", { "/run/lock": {}, "/tmp": {} }, "/run/lock"],
  ["/tmp where there is no /run/lock", { "/tmp": {} }, "/tmp"],
  ["/tmp where users may not write to /run/lock", { "/run/lock": { mode: 0o40755 }, "/tmp": {} }, "/tmp"],
  ["none where files of others can be removed", { "/run/lock": { mode: 0o40777 } }, OWN],
  ["none that is a link, or another user's", { "/run/lock": { folder: false }, "/tmp": { uid: 1_000 } }, OWN],
])("locks of real devices are the machine's: %s", (_, folders, locks) => {
  const found = deviceLocks({}, OWN, machine(folders));
  expect(found.locks).toBe(locks);
  expect(found.warning ?? "").toMatch(locks === OWN ? /hold for this user alone/ : /^$/);
});

test("what is no plain file is no lock file: no link is followed, no pipe is waited for; a name that could move a terminal is none", () => {
  const root = temporaryFolder();
  const owner = { cluster: "cluster_a", node: "node_a", raylet: "inc_a", lease: "engine_a", pid: 7 };
  writeFileSync(`${root}/plain`, JSON.stringify(owner));
  expect(lockFile(`${root}/plain`)?.owner).toEqual(owner);
  symlinkSync(`${root}/plain`, `${root}/link`);
  execFileSync("python3", ["-c", "import os, sys; os.mkfifo(sys.argv[1])", `${root}/pipe`]);
  expect(["link", "pipe", "none", ""].map((name) => lockFile(`${root}/${name}`))).toEqual([
    ...[undefined, undefined, undefined, undefined],
  ]);
  writeFileSync(`${root}/plain`, JSON.stringify({ ...owner, node: "\u001b[2Jnode_a" }));
  expect(lockFile(`${root}/plain`)).toMatchObject({ owner: undefined });
});

test("a chosen folder is made for all users; one that is there stays as it is", () => {
  const root = temporaryFolder();
  const chosen = `${root}/locks`;
  expect(deviceLocks({ WHIPRAY_DEVICE_LOCKS: chosen }, OWN)).toEqual({ locks: chosen });
  expect(statSync(chosen).mode & 0o7777).toBe(0o1777);
  mkdirSync(`${root}/mine`, { mode: 0o700 });
  deviceLocks({ WHIPRAY_DEVICE_LOCKS: `${root}/mine` }, OWN);
  expect(statSync(`${root}/mine`).mode & 0o7777).toBe(0o700);
});

test("B28: a chosen folder that is not absolute or cannot be made is refused, naming variable and path", () => {
  for (const bad of ["locks", "../locks", "/proc/none/locks", "/tmp/a\0b"]) {
    const look = () => deviceLocks({ WHIPRAY_DEVICE_LOCKS: bad }, OWN);
    expect(look).toThrow(expect.objectContaining({ code: "INVALID_PATH" }));
    expect(look).toThrow(/^WHIPRAY_DEVICE_LOCKS=".*" (must be an absolute path|cannot be made)/);
  }
});
