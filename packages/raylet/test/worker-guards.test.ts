import { existsSync, readFileSync } from "node:fs";
import { SimulatedClock, settle, silentLogger, systemClock } from "@whipray/core";
import { expect, onTestFinished, test } from "vitest";
import { Ledger } from "../src/ledger.ts";
import { MemoryGuards } from "../src/memory-guards.ts";
import { MemoryLog } from "../src/memory-logs.ts";
import { MemoryProcesses } from "../src/memory-processes.ts";
import type { NodeDevice } from "../src/node-identity.ts";
import { statOf } from "../src/process-table.io.ts";
import { Quarantine } from "../src/quarantine.ts";
import { WorkerGuards } from "../src/worker-guards.ts";
import { WorkerSweeps } from "../src/worker-sweeps.ts";
import type { Worker } from "../src/workers.ts";
import { WHOLE } from "./fake-node.ts";
import { realRaylet } from "./real-raylet.ts";
import { temporaryFolder, until } from "./temporary-folder.ts";

const ALL = { units: { GPU: 8 * WHOLE }, placementUnits: { GPU: 8 * WHOLE } };

/** The process that the actor `Escapes` of tiny-worker.ts left: no parent, session or variable of it leads to its worker. */
async function escaped(root: string): Promise<number> {
  const pid = await until("it has escaped", () => {
    // Empty while it is being written.
    return existsSync(`${root}/escaped`) && (Number(readFileSync(`${root}/escaped`, "utf8")) || undefined);
  });
  onTestFinished(() => {
    if (lives(pid)) process.kill(pid, "SIGKILL");
  });
  await until("it sleeps", () => readFileSync(`/proc/${pid}/cmdline`, "utf8").startsWith("sleep"));
  return pid;
}

const lives = (pid: number): boolean => statOf(pid) !== undefined && statOf(pid)?.state !== "Z";

test.each([
  ["the actor is killed", async ({ kill }: Real, actorId: string) => void (await kill(actorId))],
  ["its node leaves", async ({ stop }: Real) => stop()],
])(
  "F24: what a Node worker with a device started, in another session, orphaned and without our variables, is gone when %s",
  async (_, end) => {
    const root = temporaryFolder();
    const real = await realRaylet(root, { fakeDevices: "8xH100" });
    onTestFinished(real.stop);
    const { answer, spec } = await real.start("Escapes", ALL);
    expect(answer).toMatchObject({ ok: true });
    const pid = await escaped(root);
    await end(real, spec.actorId);
    // Gone when the release was confirmed, not some time later: the next owner may start.
    expect(lives(pid)).toBe(false);
  },
  60_000,
);

test("F3: SIGKILL of a worker's guard ends the worker; its device is offered again when a look has shown nobody on it", async () => {
  // No look comes by itself.
  const real = await realRaylet(temporaryFolder(), { fakeDevices: "8xH100", lookEveryMs: 3_600_000 });
  onTestFinished(real.stop);
  const { answer } = await real.start("Counter", ALL);
  const worker = answer.pid!;
  const reasons: string[] = [];
  const withheld = () => Object.values(real.raylet.describe().view.withheld ?? {});
  process.kill(statOf(worker)!.parent, "SIGKILL");
  await until("its end is told", () => {
    reasons.push(...withheld().map(({ reason }) => reason));
    return real.ended.length > 0 && reasons.length > 0;
  });
  expect(real.ended[0]!.cause).toMatchObject({ kind: "WORKER_DIED", signal: "SIGKILL" });
  const [reason, ...others] = new Set(reasons);
  expect(reason).toMatch(/^the guard of worker_\w+ was killed, and no look has shown yet that all of it is gone$/);
  expect(others).toEqual([]);
  await until("a look has shown it", () => withheld().length === 0);
  expect(lives(worker)).toBe(false);
  expect((await real.start("Counter", ALL)).answer).toMatchObject({ ok: true });
}, 60_000);

test("P6, F23: what a worker with a device started and nobody can kill holds the device in quarantine until it is gone", async () => {
  const clock = new SimulatedClock();
  const guards = new MemoryGuards();
  const ledger = new Ledger({ scalars: {}, devices: [GPU], links: undefined });
  const processes = new MemoryProcesses();
  const quarantine = new Quarantine(ledger, silentLogger, () => {});
  const sweeps = new WorkerSweeps({ processes, quarantine, clock, logger: silentLogger });
  const lease = {
    leaseId: "lease_a",
    units: { GPU: WHOLE },
    devices: [{ uuid: GPU.uuid, index: 0, resource: "GPU", units: WHOLE }],
  };
  const spawn = new WorkerGuards({ guards, clock, devices: [GPU] }).spawnFor(lease, 3)!;
  const log = new MemoryLog("memory:worker");
  const child = await spawn({ command: "/node", args: ["worker.js"], env: { A: "1" }, cwd: "/work", log }, "worker_a");
  const [tree] = guards.engines;
  expect(tree!.spec).toMatchObject({
    ...{ treeId: "worker_a", mark: "WHIPRAY_WORKER_ID", epoch: 3, argv: ["/node", "worker.js"], env: { A: "1" } },
    ...{ locks: ["/locks/gpu-0.lock"], cwd: "/work", pty: false },
  });
  tree!.stuck = 2;
  tree!.exit({ code: 1, signal: null });
  await settle();
  await clock.run(1_000);
  expect(await child.exited).toEqual({ code: 1, signal: null });
  expect(child.kill("SIGKILL")).toBe(false);
  await sweeps.sweep({ workerId: "worker_a", child } as Worker, lease.devices);
  expect(ledger.view().withheld).toEqual({
    [GPU.uuid]: { kind: "quarantined", reason: "2 processes of worker_a cannot be killed" },
  });
  tree!.vanish();
  await settle();
  expect(ledger.view().withheld).toBeUndefined();
});

test("a device that nobody else can have needs no guard: its worker is a plain child, perhaps a warm one", () => {
  const alone = { ...GPU, shared: false };
  const workerGuards = new WorkerGuards({ guards: new MemoryGuards(), clock: systemClock, devices: [alone] });
  const devices = [{ uuid: GPU.uuid, index: 0, resource: "GPU", units: WHOLE }];
  expect(workerGuards.spawnFor({ leaseId: "lease_a", units: {}, devices }, 1)).toBeUndefined();
});

type Real = Awaited<ReturnType<typeof realRaylet>>;

const GPU: NodeDevice = {
  ...{
    uuid: "GPU-0",
    index: 0,
    resource: "GPU",
    vendor: "nvidia",
    model: "H100",
    acceleratorType: "H100",
    health: "ok",
  },
  ...{ lockPath: "/locks/gpu-0.lock", shared: true },
};
