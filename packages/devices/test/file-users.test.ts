import { type ChildProcess, spawn } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "@whipray/core";
import { expect, onTestFinished, test } from "vitest";
import { fileUsers } from "../src/file-users.io.ts";
import { memoryProbe, PROBE_LIMIT_MS, systemProbe } from "../src/index.ts";
import { cambricon } from "../src/vendors/cambricon.ts";
import { intelGpu } from "../src/vendors/intel-gpu.ts";
import { tenstorrent } from "../src/vendors/tenstorrent.ts";
import { fixture } from "./fixture.ts";

/** For looking through all processes of a busy machine. */
const PATIENT_MS = 60_000;

function root(): string {
  const folder = mkdtempSync(join(tmpdir(), "wu-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  mkdirSync(join(folder, "dev/tenstorrent"), { recursive: true });
  for (const card of [0, 1]) writeFileSync(join(folder, `dev/tenstorrent/${card}`), "");
  return folder;
}

/** A process that has a file open, once it says so. */
async function opens(path: string, shell = "/bin/sh"): Promise<ChildProcess> {
  const child = spawn(shell, ["-c", `exec 7<"$0"; echo open; read end`, path], { stdio: ["pipe", "pipe", "inherit"] });
  onTestFinished(() => void child.kill("SIGKILL"));
  await new Promise((resolve) => child.stdout!.once("data", resolve));
  return child;
}

test("F33: a process that has a device file open is found under any root; nobody else is", async () => {
  const machine = root();
  const user = await opens(join(machine, "dev/tenstorrent/1"));
  // The same name elsewhere is another file.
  const other = root();
  await opens(join(other, "dev/tenstorrent/0"));
  const probe = systemProbe({ root: machine, machine: "m", limitMs: PATIENT_MS });
  const paths = ["/dev/tenstorrent/0", "/dev/tenstorrent/1", "/dev/tenstorrent/9"];
  const { pids, message } = await probe.users(paths, []);
  expect(message).toBe("");
  expect(pids).toEqual(new Map([["/dev/tenstorrent/1", [user.pid]]]));
  user.kill("SIGKILL");
  await new Promise((resolve) => user.once("close", resolve));
  expect((await probe.users(paths, [])).pids).toEqual(new Map());
});

test("a character device is known by its number, by whatever name it was opened", async () => {
  const { pids } = await fileUsers(["/dev/null"], { root: "/", limitMs: PATIENT_MS });
  // This process, or one of its parents, has it open in any run of the tests.
  expect(pids?.get("/dev/null")?.length).toBeGreaterThan(0);
});

test("the vendor's own tool only looks", async () => {
  const machine = root();
  const tool = join(machine, "a-very-long-vendor-smi");
  copyFileSync("/bin/sh", tool);
  await opens(join(machine, "dev/tenstorrent/0"), tool);
  const paths = ["/dev/tenstorrent/0"];
  expect((await fileUsers(paths, { root: machine, limitMs: PATIENT_MS })).pids?.size).toBe(1);
  expect(
    (await fileUsers(paths, { root: machine, limitMs: PATIENT_MS, lookers: ["a-very-long-vendor-smi"] })).pids?.size,
  ).toBe(0);
});

test("the look ends at its limit without an answer, which is not the same as nobody", async () => {
  let nowMs = 0;
  const clock = { ...systemClock, now: () => (nowMs += PROBE_LIMIT_MS / 2) };
  const { pids, message } = await fileUsers(["/dev/tenstorrent/0"], { root: root(), clock });
  expect(pids).toBeUndefined();
  expect(message).toBe(`/proc could not be looked through within ${PROBE_LIMIT_MS} ms`);
});

test("a vendor whose tool names no processes is asked by its device files, with and without the tool", async () => {
  const bare = memoryProbe({ folders: { "/dev/tenstorrent": ["0", "1"] }, open: { "/dev/tenstorrent/1": [7, 9] } });
  const { devices } = await tenstorrent.fingerprint(bare);
  expect(await tenstorrent.processes(bare, devices)).toMatchObject({
    state: "ok",
    processes: [
      { uuid: devices[1]!.uuid, pid: 7 },
      { uuid: devices[1]!.uuid, pid: 9 },
    ],
  });
  const machine = { folders: { "/dev": ["cambricon_dev0"] }, open: { "/dev/cambricon_dev0": [5] } };
  for (const tools of [{}, { cnmon: fixture("cnmon-2xMLU590.txt") }]) {
    const probe = memoryProbe({ ...machine, tools });
    const found = await cambricon.fingerprint(probe);
    const { processes } = await cambricon.processes(probe, found.devices);
    expect(processes).toEqual([{ uuid: found.devices[0]!.uuid, pid: 5 }]);
  }
});

test("where /proc cannot be looked through, or no file stands for the device, users are unknown, never none", async () => {
  const closed = memoryProbe({ folders: { "/dev/tenstorrent": ["0"] }, open: null });
  const { devices } = await tenstorrent.fingerprint(closed);
  expect(await tenstorrent.processes(closed, devices)).toMatchObject({
    state: "unknown",
    error: { code: "PROBE_FAILED" },
  });
  const intel = await intelGpu.processes(closed, [{ ...devices[0]!, files: undefined as never }]);
  expect(intel).toMatchObject({ state: "unknown", error: { code: "PROBE_UNSUPPORTED" } });
});
