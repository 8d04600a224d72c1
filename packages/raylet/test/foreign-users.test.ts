import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { expect, onTestFinished, test } from "vitest";
import { processesWith } from "../src/process-table.io.ts";
import { NODE_MARK } from "../src/runtime-directory.ts";
import { WHOLE } from "./fake-node.ts";
import { realRaylet } from "./real-raylet.ts";
import { temporaryFolder, until } from "./temporary-folder.ts";

const CARD = { units: { TTNPU: WHOLE }, placementUnits: { TTNPU: WHOLE } };
/** So seldom that none comes between two lines of the test. */
const SELDOM_MS = 15_000;

/** A machine with two cards that exist as files alone, and whose vendor has no tool. */
function machineRoot(): string {
  const root = temporaryFolder();
  mkdirSync(`${root}/dev/tenstorrent`, { recursive: true });
  for (const card of [0, 1]) writeFileSync(`${root}/dev/tenstorrent/${card}`, "");
  return root;
}

async function foreignUser(path: string) {
  const child = spawn("/bin/sh", ["-c", 'exec 7<"$0"; echo open; read end', path], {
    stdio: ["pipe", "pipe", "inherit"],
    env: { PATH: process.env["PATH"]! },
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  await new Promise((resolve) => child.stdout.once("data", resolve));
  return child;
}

test("F33: a foreign process that opened a device file after the last look is seen before the grant; gone, the device is granted", async () => {
  const deviceRoot = machineRoot();
  const raylet = await realRaylet(temporaryFolder(), { deviceRoot, lookEveryMs: SELDOM_MS });
  onTestFinished(raylet.stop);
  const view = () => raylet.raylet.describe().view;
  const [first, second] = raylet.node.node.devices.map((device) => device.uuid);
  expect(view().withheld).toBeUndefined();
  const stranger = await foreignUser(`${deviceRoot}/dev/tenstorrent/0`);
  const { answer } = await raylet.start("Counter", CARD);
  expect(answer).toMatchObject({
    ok: false,
    refused: `TTNPU 0 is not offered (busy: foreign pid ${stranger.pid} (sh))`,
  });
  expect(view().withheld).toEqual({ [first!]: { kind: "busy", reason: `foreign pid ${stranger.pid} (sh)` } });
  expect((await raylet.start("Counter", CARD)).answer).toMatchObject({ ok: true, devices: [{ uuid: second }] });
  stranger.kill("SIGKILL");
  await until("it is offered again", () => view().withheld === undefined, 60_000);
  expect((await raylet.start("Counter", CARD)).answer).toMatchObject({ ok: true, devices: [{ uuid: first }] });
}, 120_000);

const MIG = "MIG-6b20c0de-0b02-4b1d-9c00-0000000001b1";

test("MIG: a raylet whose CUDA_VISIBLE_DEVICES names a part of an H100 grants that part, and its engine sees it by its UUID", async () => {
  const tools = temporaryFolder();
  const gpu = "GPU-6b20c0de-0b02-4b1d-9c00-0000000000b1";
  const fields = "index, uuid, name, memory.total [MiB], driver_version, pci.bus_id, mig.mode.current";
  const table = `${fields}\n0, ${gpu}, NVIDIA H100 80GB HBM3, 81559 MiB, 570.86.15, 00000000:1B:00.0, Enabled\n`;
  const other = MIG.replace("1b1", "2b1");
  const list = `GPU 0: NVIDIA H100 80GB HBM3 (UUID: ${gpu})\n  MIG 3g.40gb     Device  0: (UUID: ${MIG})\n  MIG 3g.40gb     Device  1: (UUID: ${other})\n`;
  writeFileSync(`${tools}/table`, table);
  writeFileSync(`${tools}/list`, list);
  const script = `#!/bin/sh
case "$1" in
  -L) cat ${tools}/list ;;
  --query-compute-apps*) echo "gpu_uuid, pid, used_gpu_memory [MiB], process_name" ;;
  --query-gpu*) cat ${tools}/table ;;
  *) exit 1 ;;
esac
`;
  writeFileSync(`${tools}/nvidia-smi`, script, { mode: 0o755 });
  const env = { CUDA_VISIBLE_DEVICES: MIG };
  const raylet = await realRaylet(temporaryFolder(), { deviceRoot: "/", tools, env });
  onTestFinished(raylet.stop);
  expect(raylet.registrations[0]!.devices).toMatchObject([
    { uuid: MIG, resource: "GPU", model: "NVIDIA H100 80GB HBM3 MIG 3g.40gb", acceleratorType: "H100" },
  ]);
  const { answer } = await raylet.start("Engine");
  expect(answer).toMatchObject({ ok: true, devices: [{ uuid: MIG }] });
  const running = (await processesWith(NODE_MARK, raylet.nodeId)).found.map(({ pid }) => {
    return readFileSync(`/proc/${pid}/environ`, "utf8").split("\0");
  });
  const engine = running.find((entries) => entries.some((entry) => entry.startsWith("WHIPRAY_ENGINE_SOCKET=")));
  expect(engine).toContain(`CUDA_VISIBLE_DEVICES=${MIG}`);
  expect((await raylet.start("Counter")).answer.ok).toBe(false);
}, 60_000);
