import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { delay, systemClock } from "@whipray/core";
import { describe, expect, onTestFinished, test } from "vitest";
import { Deadline } from "../../../scripts/vitest/deadline.ts";
import { ChildProcesses } from "../src/child-processes.io.ts";
import { GUARD_KILL_BY_MS } from "../src/guards.ts";
import { MemoryLog } from "../src/memory-logs.ts";
import { type ProcessStat, processesWith, statOf } from "../src/process-table.io.ts";
import { NODE_MARK } from "../src/runtime-directory.ts";
import { WHOLE } from "./fake-node.ts";
import { type RealRayletOptions, realRaylet } from "./real-raylet.ts";
import { temporaryFolder, until } from "./temporary-folder.ts";

const env = { PATH: process.env["PATH"]!, HOME: process.env["HOME"]! };
const FAKE = { fakeDevices: "8xH100" };
/** What a look at all processes and the start of a worker take, beyond the guards' own time. */
const LOOK_MARGIN_MS = 2_000;
const H100_QUERY = "index, uuid, name, memory.total [MiB], driver_version";
const ALL = { units: { GPU: 8 * WHOLE }, placementUnits: { GPU: 8 * WHOLE } };

async function raylet(root: string, options: RealRayletOptions = {}) {
  const started = await realRaylet(root, { ...FAKE, ...options });
  onTestFinished(started.stop);
  const withheld = () => started.raylet.describe().view.withheld ?? {};
  const lockOf = (index: number) => started.node.node.devices.find((device) => device.index === index)!;
  return { ...started, withheld, lockOf };
}

/** The mark of the engine that runs on a node; empty when there is none. */
async function engineOf(nodeId: string): Promise<string> {
  for (const { pid } of (await processesWith(NODE_MARK, nodeId)).found) {
    // One that ends meanwhile has no environment any more.
    const text = await readFile(`/proc/${pid}/environ`, "utf8").catch(() => "");
    const mark = text.split("\0").find((entry) => entry.startsWith("WHIPRAY_ENGINE="));
    if (mark) return mark.slice("WHIPRAY_ENGINE=".length);
  }
  return "";
}

/** Processes of a node that have something to do with a device: guards, and what they guard. */
async function usersOf(nodeId: string): Promise<string[]> {
  const { found } = await processesWith(NODE_MARK, nodeId);
  const shown = found.map(async ({ pid, parent }) => {
    const [own, of] = await Promise.all([commandOf(pid), commandOf(parent)]);
    return [own, of].some((command) => command.includes("whipray_guard.py")) ? `${pid} ${own}` : "";
  });
  return (await Promise.all(shown)).filter((text) => text !== "");
}

async function commandOf(pid: number): Promise<string> {
  return (await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")).replaceAll("\0", " ");
}

/** Another program that takes a lock, as anybody can. */
async function foreignLock(path: string, exclusive = true): Promise<ChildProcess> {
  const how = exclusive ? "LOCK_EX" : "LOCK_SH";
  const script = `import fcntl, time; f = open(${JSON.stringify(path)}, "a"); fcntl.flock(f, fcntl.${how}); print("held", flush=True); time.sleep(60)`;
  const child = spawn("python3", ["-c", script], { stdio: ["ignore", "pipe", "inherit"] });
  onTestFinished(() => void child.kill("SIGKILL"));
  await new Promise((resolve) => child.stdout!.once("data", resolve));
  return child;
}

/** A raylet in a process of its own, whose actor runs an engine on one device. */
async function loneRaylet(root: string, options: RealRayletOptions) {
  const log = new MemoryLog("memory:raylet");
  const entry = fileURLToPath(new URL("./lone-raylet.ts", import.meta.url));
  const args = [entry, root, JSON.stringify({ ...FAKE, ...options })];
  const spec = { command: process.execPath, args, env, cwd: root, log, dieWithParent: false };
  const child = await new ChildProcesses(systemClock).spawn(spec);
  onTestFinished(() => void child.kill("SIGKILL"));
  const running = () => /running on (node_\w+)/.exec(log.errorTail().join("\n"))?.[1];
  return { child, log, nodeId: await until("its engine", running, 25_000) };
}

describe("a device has one owner on a host (mechanism 11, P4)", () => {
  test("F33: a foreign program that takes a lock: the device is told with its pid and not granted; freed, it is offered again", async () => {
    const root = temporaryFolder();
    const { withheld, lockOf, start, raylet: one } = await raylet(root);
    const thief = await foreignLock(lockOf(2).lockPath);
    await until("the lock was seen", () => Object.keys(withheld()).length === 1);
    expect(withheld()[lockOf(2).uuid]).toEqual({
      kind: "locked",
      reason: expect.stringMatching(new RegExp(`^its lock is held by pid ${thief.pid} \\(python3`)),
    });
    const { answer } = await start("Counter", ALL);
    expect(answer).toMatchObject({
      ok: false,
      refused: expect.stringContaining(`GPU 2 (locked: its lock is held by pid`),
    });
    thief.kill("SIGKILL");
    await until("it is offered again", () => Object.keys(one.describe().view.devices).length === 8);
    expect((await start("Counter", ALL)).answer.ok).toBe(true);
  });

  test("a lock that is taken between look and start fails the worker loudly, and the actor is refused with the lock", async () => {
    // No look comes after the first one: what refuses is the worker's own try to take the lock.
    const { lockOf, start, withheld } = await raylet(temporaryFolder(), { lookEveryMs: 3_600_000 });
    const devices = await Promise.all([0, 1, 2, 3, 4, 5, 6, 7].map((index) => foreignLock(lockOf(index).lockPath)));
    expect(withheld()).toEqual({});
    const { answer } = await start("Counter");
    expect(answer).toMatchObject({
      ok: false,
      refused: expect.stringMatching(
        /^worker_\w+ could not be started: lock \S+\.lock could not be taken: .*; held by pid \d+/,
      ),
    });
    await until("the refusal made it look", () => Object.keys(withheld()).length === devices.length);
  });

  test("F32: a second raylet of another cluster sees who holds which device, takes the others, and gets that one when it is free", async () => {
    const root = temporaryFolder();
    const first = await raylet(root, { cluster: "cluster_one" });
    const { answer, spec } = await first.start("Engine");
    const uuid = answer.devices![0]!.uuid;
    const second = await raylet(root, { cluster: "cluster_two" });
    // Seen before anything was offered: the first look comes before the registration.
    expect(second.registrations[0]!.view.withheld).toEqual({
      [uuid]: { kind: "locked", reason: expect.stringMatching(/held by cluster_one node_\w+, lease /) },
    });
    expect(Object.keys(second.registrations[0]!.view.devices)).toHaveLength(7);
    const other = await second.start("Engine");
    expect(other.answer).toMatchObject({ ok: true });
    expect(other.answer.devices![0]!.uuid).not.toBe(uuid);
    await first.kill(spec.actorId);
    await until("it is free", () => second.withheld()[uuid] === undefined);
    await until("the first one sees the second one's", () => first.withheld()[other.answer.devices![0]!.uuid]);
  });

  test("two clusters that declare devices where nvidia-smi fails do not both get the same number", async () => {
    const root = temporaryFolder();
    const tools = temporaryFolder();
    writeFileSync(`${tools}/nvidia-smi`, "#!/bin/sh\necho 'NVIDIA-SMI has failed' >&2\nexit 9\n", { mode: 0o755 });
    const declared = { tools, fakeDevices: undefined };
    const first = await raylet(root, { ...declared, cluster: "cluster_one", name: "one" });
    expect(first.node.warnings.join("\n")).toContain("taken on trust");
    expect((await first.start("Counter")).answer).toMatchObject({ ok: true });
    const second = await raylet(root, { ...declared, cluster: "cluster_two", name: "two" });
    const [taken, free] = [second.lockOf(0), second.lockOf(1)];
    expect(second.registrations[0]!.view.withheld).toEqual({
      [taken.uuid]: { kind: "locked", reason: expect.stringMatching(/held by .*cluster_one/) },
    });
    expect((await second.start("Counter")).answer).toMatchObject({ ok: true, devices: [{ uuid: free.uuid }] });
    expect((await second.start("Counter")).answer).toMatchObject({ ok: false });
  });

  test("two clusters with different runtime folders contend for a device of the machine", async () => {
    const locks = temporaryFolder();
    const tools = temporaryFolder();
    const query = `${H100_QUERY}\n0, GPU-aaaa, NVIDIA H100, 81559 MiB, 570.1\n1, GPU-bbbb, NVIDIA H100, 81559 MiB, 570.1`;
    writeFileSync(`${tools}/nvidia-smi`, `#!/bin/sh\n[ "$1" = topo ] && exit 1\necho '${query}'\n`, { mode: 0o755 });
    const real = { tools, locks, fakeDevices: undefined };
    const first = await raylet(temporaryFolder(), { ...real, cluster: "cluster_one" });
    expect(first.lockOf(0)).toMatchObject({ uuid: "GPU-aaaa", lockPath: `${locks}/whipray-GPU-aaaa.lock` });
    expect((await first.start("Counter")).answer).toMatchObject({ ok: true, devices: [{ uuid: "GPU-aaaa" }] });
    const second = await raylet(temporaryFolder(), { ...real, cluster: "cluster_two" });
    expect(second.registrations[0]!.view.withheld).toEqual({
      "GPU-aaaa": { kind: "locked", reason: expect.stringMatching(/held by cluster_one node_\w+, lease worker_/) },
    });
    expect((await second.start("Counter")).answer).toMatchObject({ ok: true, devices: [{ uuid: "GPU-bbbb" }] });
    expect((await second.start("Counter")).answer).toMatchObject({ ok: false });
  });

  test("leases of one raylet share a device; the worker of a plain actor holds its lock, and frees it with its end", async () => {
    const root = temporaryFolder();
    const { start, kill, lockOf } = await raylet(root);
    const most = { units: { GPU: 9_000 }, placementUnits: { GPU: 9_000 } };
    const rest = { units: { GPU: 100 }, placementUnits: { GPU: 100 } };
    const [one, two] = [await start("Counter", most), await start("Counter", rest)];
    expect([one.answer.ok, two.answer.ok]).toEqual([true, true]);
    expect(two.answer.devices![0]!.uuid).toBe(one.answer.devices![0]!.uuid);
    const { lockPath } = lockOf(one.answer.devices![0]!.index);
    const inode = String(statSync(lockPath).ino);
    const holders = () =>
      readFileSync("/proc/locks", "utf8")
        .split("\n")
        .filter((line) => line.includes(`:${inode} `)).length;
    expect(holders()).toBe(2);
    await kill(one.spec.actorId);
    expect(holders()).toBe(1);
    await kill(two.spec.actorId);
    expect(holders()).toBe(0);
  });
});

describe("a raylet that comes back", () => {
  test("after SIGKILL: the restarted one ends what its predecessor left before it offers the device", async () => {
    const root = temporaryFolder();
    const atRegistration: number[] = [];
    const { child, nodeId } = await loneRaylet(root, { nodeId: "node_same" });
    // Its guard, its worker and its engine, by pid and start time.
    const left = (await processesWith(NODE_MARK, nodeId)).found;
    const lives = (one?: ProcessStat) => one !== undefined && one.state !== "Z" && one.state !== "X";
    const living = () =>
      left.filter(({ pid, startTime }) => {
        const now = statOf(pid);
        return lives(now) && now?.startTime === startTime;
      });
    expect(await engineOf(nodeId)).not.toBe("");
    expect(living().length).toBeGreaterThanOrEqual(3);
    child.kill("SIGKILL");
    await child.exited;
    const again = await raylet(root, { nodeId, onRegister: () => atRegistration.push(living().length) });
    expect(atRegistration).toEqual([0]);
    expect(again.registrations[0]!.view).toMatchObject({ devices: expect.anything() });
    expect(Object.keys(again.registrations[0]!.view.devices)).toHaveLength(8);
    expect(again.registrations[0]!.view.withheld).toBeUndefined();
    expect((await again.start("Counter", ALL)).answer.ok).toBe(true);
  }, 60_000);

  test("after SIGSTOP: its guards end engine and worker in 8 s; until then another cluster's raylet is told so and does not get the device; waking up, the old one finds them dead and does not get it back", async () => {
    const root = temporaryFolder();
    const { child, nodeId, log } = await loneRaylet(root, { cluster: "cluster_one" });
    const second = await raylet(root, { cluster: "cluster_two" });
    const [why] = Object.values(second.registrations[0]!.view.withheld!);
    expect(why!.reason).toContain(`cluster_one ${nodeId}`);
    // Two guards, a worker and an engine with what it started: all but the worker that waits warm, without a device.
    expect((await usersOf(nodeId)).length).toBeGreaterThanOrEqual(4);
    process.kill(child.pid, "SIGSTOP");
    const gone = new Deadline(GUARD_KILL_BY_MS + LOOK_MARGIN_MS);
    onTestFinished(() => void child.kill("SIGCONT"));
    let owner = (await second.start("Counter", ALL)).answer;
    expect(owner.refused).toContain("locked: its lock is held by cluster_one");
    while (!owner.ok && !gone.over) {
      await delay(systemClock, 100);
      owner = (await second.start("Counter", ALL)).answer;
    }
    // The old one still sleeps, and the new owner runs.
    expect(owner).toMatchObject({ ok: true });
    expect(await usersOf(nodeId)).toEqual([]);
    process.kill(child.pid, "SIGCONT");
    await until("the old one has seen it", () => log.errorTail().some((line) => line.startsWith("ended ")), 15_000);
    await until("and whose all devices are", () => {
      const withheld = log.errorTail().findLast((line) => line.startsWith("withheld "));
      return withheld?.match(/its lock is held by cluster_two/g)?.length === 8;
    });
    expect(second.ended).toEqual([]);
    expect(await usersOf(nodeId)).toEqual([]);
  }, 60_000);
});
