import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { delay, systemClock } from "@whipray/core";
import { expect, onTestFinished, test } from "vitest";
import { type Cluster, DeviceLostError } from "whipray";
import { type RealCluster, startCluster } from "../src/real-cluster.io.ts";
import { endAfterEach } from "./end-after-each.ts";
import type { Resident } from "./fixtures/resident.ts";

const RESIDENT = new URL("./fixtures/resident.ts", import.meta.url);
const TEST_MS = 120_000;
const LOOK_EVERY_MS = 250;
/** For a machine that is busy with other tests. */
const SEEN_MS = 30_000;
let real: RealCluster | undefined;

endAfterEach(() => real, TEST_MS);

const HEADER = "index, uuid, name, memory.total [MiB], driver_version, utilization.gpu [%], memory.used [MiB]";
const APPS = "gpu_uuid, pid, used_gpu_memory [MiB], process_name";
const uuidOf = (index: number) => `GPU-0000000${index}-1111-2222-3333-444444444444`;
const row = (index: number) => `${index}, ${uuidOf(index)}, NVIDIA H100 80GB HBM3, 81559 MiB, 570.86.15, 0 %, 4 MiB`;

/** A machine whose nvidia-smi is a script that says what the test writes. */
function fakeTool() {
  const folder = mkdtempSync(join(tmpdir(), "wg-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const gpus = (...indices: number[]) =>
    writeFileSync(join(folder, "table"), [HEADER, ...indices.map(row), ""].join("\n"));
  const users = (...pids: [gpu: number, pid: number][]) =>
    writeFileSync(
      join(folder, "apps"),
      [APPS, ...pids.map(([gpu, pid]) => `${uuidOf(gpu)}, ${pid}, 100 MiB, python3`), ""].join("\n"),
    );
  gpus(0, 1);
  users();
  const script = `#!/bin/sh
case "$1" in
  --query-compute-apps*) cat ${folder}/apps ;;
  --query-gpu*) cat ${folder}/table ;;
  *) exit 1 ;;
esac
`;
  const runs = (text: string) => writeFileSync(join(folder, "nvidia-smi"), text, { mode: 0o755 });
  runs(script);
  const fails = () => runs("#!/bin/sh\necho 'NVIDIA-SMI has failed' >&2\nexit 9\n");
  return { gpus, users, fails, works: () => runs(script), env: { PATH: `${folder}:${process.env["PATH"]}` } };
}

function create(cluster: Cluster) {
  return cluster.actor<Resident>(RESIDENT, "Resident").options({ numCpus: 0, numGpus: 1 }).create();
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const giveUpAt = systemClock.now() + SEEN_MS;
  while (!(await holds())) {
    if (systemClock.now() > giveUpAt) throw new Error(`not within ${SEEN_MS} ms: ${what}`);
    await delay(systemClock, 200);
  }
}

test(
  "F33: a foreign process makes a GPU busy with its pid; F34: a GPU that is lost fails its owner with DeviceLostError, and nobody else",
  async () => {
    const tool = fakeTool();
    real = await startCluster({ raylets: [{ resources: { CPU: 4 } }], env: tool.env, lookEveryMs: LOOK_EVERY_MS });
    const cluster = await real.connect({ namespace: "devices" });
    const withheld = async () => (await cluster.nodes())[0]!.view.withheld ?? {};
    const stranger = spawn("sleep", ["120"], { stdio: "ignore" });
    onTestFinished(() => void stranger.kill("SIGKILL"));
    tool.users([1, stranger.pid!]);
    await until("the stranger is seen", async () => uuidOf(1) in (await withheld()));
    const owner = await create(cluster);
    expect(await owner.add(1)).toBe(1);
    expect((await cluster.actorRow(owner)).devices).toMatchObject([{ uuid: uuidOf(0) }]);
    const other = await create(cluster);
    await until("the second actor waits", async () => {
      const text = (await cluster.actorRow(other)).waiting ?? "";
      return text.includes(`not offered there: GPU 1 (busy: foreign pid ${stranger.pid} (sleep))`);
    });

    tool.users();
    expect(await other.add(5)).toBe(5);
    expect((await cluster.actorRow(other)).devices).toMatchObject([{ uuid: uuidOf(1) }]);

    const hanging = owner.hang().catch((error: unknown) => error);
    tool.gpus(1);
    const error = await hanging;
    expect(error).toBeInstanceOf(DeviceLostError);
    expect(error).toMatchObject({ code: "DEVICE_LOST" });
    expect((error as Error).message).toContain(`device ${uuidOf(0)} (GPU 0) was lost: nvidia-smi no longer lists it`);
    expect(await other.add(1)).toBe(6);
    expect(await withheld()).toEqual({ [uuidOf(0)]: { kind: "unhealthy", reason: "nvidia-smi no longer lists it" } });
    expect((await cluster.nodes())[0]!.seen?.states.map(({ health }) => health)).toEqual(["unhealthy", "ok"]);

    tool.gpus(0, 1);
    await until("it is offered again", async () => Object.keys(await withheld()).length === 0);
    expect(await (await create(cluster)).add(2)).toBe(2);
  },
  TEST_MS,
);

test(
  "F33: a stranger that came a moment ago: actors and reservations get another GPU, and the next one waits with its pid",
  async () => {
    const tool = fakeTool();
    real = await startCluster({ raylets: [{ resources: { CPU: 4 } }], env: tool.env });
    const cluster = await real.connect({ namespace: "devices" });
    const stranger = spawn("sleep", ["120"], { stdio: "ignore" });
    onTestFinished(() => void stranger.kill("SIGKILL"));
    // The raylet has just looked: nothing but the grant's own look sees this one in time.
    tool.users([0, stranger.pid!]);
    const group = await cluster.placementGroup([{ GPU: 1 }]);
    await group.ready({ timeoutMs: SEEN_MS });
    expect((await group.table()).bundles).toMatchObject([{ devices: [{ uuid: uuidOf(1) }] }]);
    const reason = `foreign pid ${stranger.pid} (sleep)`;
    expect((await cluster.nodes())[0]!.view.withheld).toEqual({ [uuidOf(0)]: { kind: "busy", reason } });
    const other = await create(cluster);
    await until("the actor waits", async () => ((await cluster.actorRow(other)).waiting ?? "").includes(reason));
    await group.remove();
    expect(await other.add(1)).toBe(1);
    expect((await cluster.actorRow(other)).devices).toMatchObject([{ uuid: uuidOf(1) }]);
  },
  TEST_MS,
);

test(
  "a node whose nvidia-smi failed at its start offers its GPUs when it works at last, without a restart (device rule 9)",
  async () => {
    const tool = fakeTool();
    tool.fails();
    real = await startCluster({ raylets: [{ resources: { CPU: 4 } }], env: tool.env });
    const cluster = await real.connect({ namespace: "devices" });
    const devices = async () => (await cluster.nodes())[0]!.devices.map(({ uuid }) => uuid);
    expect(await devices()).toEqual([]);
    const actor = await create(cluster);
    await until("the actor waits", async () => (await cluster.actorRow(actor)).waiting !== undefined);
    tool.works();
    await until("the head knows the GPUs", async () => (await devices()).length === 2);
    expect(await actor.add(3)).toBe(3);
    expect((await cluster.actorRow(actor)).devices).toMatchObject([{ uuid: uuidOf(0) }]);
    expect((await cluster.clusterResources())["GPU"]).toBe(2);
    expect((await cluster.nodes())[0]!.state).toBe("ALIVE");
  },
  TEST_MS,
);
