import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { builtinPlugins, detectDevices, memoryProbe, nvidia, systemProbe, type ToolStory } from "@whipray/devices";
import { nodeDevicesSeen } from "@whipray/rpc";
import { expect, onTestFinished, test } from "vitest";
import type { DeviceUser, LockHolder } from "../src/device-eyes.ts";
import { deviceUser } from "../src/device-users.io.ts";
import { parseLockOwner, parseLocks } from "../src/lock-table.ts";
import { PluginEyes } from "../src/plugin-eyes.ts";
import { temporaryFolder, until } from "./temporary-folder.ts";

const HEADER = "index, uuid, name, memory.total [MiB], driver_version, utilization.gpu [%], memory.used [MiB]";
const row = (index: number, name = "NVIDIA H100") =>
  `${index}, GPU-0000000${index}-aaaa, ${name}, 81559 MiB, 570.1, 50 %, 1024 MiB`;

/** A machine with two GPUs whose tool says what the test wants. */
async function machine() {
  const story = {
    table: `${HEADER}\n${row(0)}\n${row(1)}\n` as ToolStory,
    apps: "gpu_uuid, pid, used_gpu_memory [MiB], process_name\n",
  };
  const probe = memoryProbe({
    tools: { "nvidia-smi": ([first]) => (first?.startsWith("--query-compute-apps") ? story.apps : story.table) },
  });
  const found = await detectDevices({ plugins: builtinPlugins, probe, environment: {}, nodeName: "n" });
  const users = new Map<number, DeviceUser>();
  const holders = new Map<string, LockHolder>();
  const eyes = new PluginEyes({
    ...{ plugins: builtinPlugins, fingerprints: found.fingerprints, devices: found.devices, probe },
    userOf: async (pid) => users.get(pid) ?? { is: "unseen", pid },
    holders: async () => holders,
  });
  return { story, probe, users, holders, eyes, uuids: found.devices.map((device) => device.uuid) };
}

test("a look tells health, figures, processes and locks of each device; tools of vendors without devices are not asked", async () => {
  const { eyes, story, users, holders, uuids, probe } = await machine();
  story.apps += `${uuids[1]}, 77, 100 MiB, python3\n`;
  users.set(77, { is: "foreign", pid: 77, name: "python3" });
  holders.set(uuids[0]!, { text: "pid 9 (flock)" });
  probe.calls.length = 0;
  const { devices, stale } = await eyes.look(false);
  expect(stale).toBeUndefined();
  expect(devices).toMatchObject([
    {
      uuid: uuids[0],
      health: "ok",
      utilization: 0.5,
      memoryUsedBytes: 2 ** 30,
      holder: { text: "pid 9 (flock)" },
      users: [],
    },
    { uuid: uuids[1], users: [{ is: "foreign", pid: 77 }], pids: [77] },
  ]);
  expect(probe.calls.filter(([tool]) => tool !== "nvidia-smi" && tool !== "dmesg")).toEqual([]);
});

test("figures travel as the wire takes them: whole bytes, and nothing that is no number", async () => {
  const { eyes, story } = await machine();
  story.table = `${HEADER}, temperature.gpu\n${row(0)}, 41.5\n${row(1).replace("1024 MiB", "0.3 MiB")}, [N/A]\n`;
  const { devices } = await eyes.look(false);
  const report = { states: devices.map(({ users: _, holder: __, ...state }) => state), agoMs: 0 };
  const { states } = nodeDevicesSeen.request({ nodeId: "node_a", epoch: 1, report }, "request").report;
  expect(states[0]?.temperatureC).toBe(41.5);
  expect(states[1]?.memoryUsedBytes).toBe(Math.round(0.3 * 2 ** 20));
  expect(states[1]).not.toHaveProperty("temperatureC");
});

test("ECC errors and Xids travel as figures, and a look at users alone asks for nothing else", async () => {
  const { eyes, story, probe, users, uuids } = await machine();
  story.table = `${HEADER}, pci.bus_id, ecc.errors.uncorrected.volatile.total\n${row(0)}, 00000000:17:00.0, 2\n${row(1)}, 00000000:65:00.0, 0\n`;
  const { devices } = await eyes.look(false);
  expect(devices).toMatchObject([{ health: "unhealthy", eccErrors: 2 }, { eccErrors: 0 }]);
  const { states } = nodeDevicesSeen.request(
    {
      nodeId: "node_a",
      epoch: 1,
      report: { states: [{ uuid: uuids[0]!, health: "ok", eccErrors: 2, xids: [48, 79] }], agoMs: 0 },
    },
    "request",
  ).report;
  expect(states[0]).toMatchObject({ eccErrors: 2, xids: [48, 79] });
  story.apps += `${uuids[1]}, 77, 100 MiB, python3\n`;
  users.set(77, { is: "foreign", pid: 77, name: "python3" });
  probe.calls.length = 0;
  expect(await eyes.users()).toEqual(
    new Map([
      [uuids[0], []],
      [uuids[1], [{ is: "foreign", pid: 77, name: "python3" }]],
    ]),
  );
  expect(probe.calls.map(([, first]) => first?.split("=")[0])).toEqual(["--query-compute-apps"]);
});

test("F34: a device that the tool no longer lists is unhealthy and says so", async () => {
  const { eyes, story, uuids } = await machine();
  story.table = `${HEADER}\n${row(0)}\n`;
  const { devices } = await eyes.look(false);
  expect(devices[1]).toMatchObject({
    uuid: uuids[1],
    health: "unhealthy",
    healthReason: "nvidia-smi no longer lists it",
  });
});

test.each([
  ["hangs", { end: "timeout", message: "nvidia-smi did not end within 5000 ms" }],
  ["garbles", "\u0000\u0001garbage\nmore"],
  ["floods", { end: "flooded", message: "nvidia-smi printed more than 1048576 bytes" }],
] as const)("F35: a tool that %s: what was known is kept, and the look is stale", async (_, bad) => {
  const { eyes, story, uuids } = await machine();
  story.table = bad;
  const { devices, stale } = await eyes.look(false);
  expect(devices.map(({ uuid, health }) => [uuid, health])).toEqual(uuids.map((uuid) => [uuid, "ok"]));
  expect(stale).toContain("nvidia: ");
  story.table = `${HEADER}\n${row(0)}\n${row(1)}\n`;
  expect((await eyes.look(false)).stale).toBeUndefined();
});

test("F35: a real tool that hangs is killed at 5 s; the look comes back, and what was known stays", async () => {
  const folder = temporaryFolder();
  const tool = (script: string) => writeFileSync(`${folder}/nvidia-smi`, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  tool(`cat <<END\n${HEADER}\n${row(0)}\nEND`);
  const probe = systemProbe({ environment: { PATH: `${folder}:${process.env["PATH"]}` } });
  const found = await detectDevices({ plugins: [nvidia], probe, environment: {}, nodeName: "n" });
  const eyes = new PluginEyes({
    ...{ plugins: [nvidia], fingerprints: found.fingerprints, devices: found.devices, probe },
    userOf: async (pid) => ({ is: "unseen", pid }),
    holders: async () => new Map(),
  });
  tool("exec sleep 300");
  const { devices, stale } = await eyes.look(false);
  expect(devices).toMatchObject([{ health: "ok" }]);
  expect(stale).toMatch(/nvidia: .*5000 ms/);
}, 60_000);

test("a process is ours by its mark, or by an ancestor's, though it dropped its own; others are strangers", async () => {
  const child = (env: Record<string, string>, script: string) => {
    const started = spawn("sh", ["-c", script], {
      env: { PATH: process.env["PATH"]!, ...env },
      stdio: ["ignore", "pipe", "ignore"],
    });
    onTestFinished(() => void started.kill("SIGKILL"));
    return started;
  };
  const engine = child({ WHIPRAY_RAYLET: "inc_a", WHIPRAY_LEASE: "lease_a" }, "env -i sleep 60 & echo $!; wait");
  let text = "";
  engine.stdout!.on("data", (chunk: Buffer) => {
    text += String(chunk);
  });
  const grandchild = Number(await until("its child", () => text.trim() || undefined));
  onTestFinished(() => void process.kill(grandchild, "SIGKILL"));
  expect(await deviceUser(engine.pid!, "inc_a")).toEqual({ is: "ours", pid: engine.pid, leaseId: "lease_a" });
  expect(await deviceUser(grandchild, "inc_a")).toEqual({ is: "ours", pid: grandchild, leaseId: "lease_a" });
  expect(await deviceUser(grandchild, "inc_b")).toMatchObject({
    is: "foreign",
    name: expect.stringMatching(/sleep|env/),
  });
  expect(await deviceUser(2 ** 22 + 1, "inc_a")).toEqual({ is: "unseen", pid: 2 ** 22 + 1 });
});

test("the kernel's table of locks; nothing of what cannot be read", () => {
  const text = [
    "1: POSIX  ADVISORY  WRITE 12 00:2f:77 0 EOF",
    "2: FLOCK  ADVISORY  WRITE 708 fe:01:1234 0 EOF",
    "2: -> FLOCK  ADVISORY  WRITE 709 fe:01:1234 0 EOF",
    "3: FLOCK  ADVISORY  READ -1 00:2f:99 0 EOF",
    "garbage",
  ].join("\n");
  expect(parseLocks(text)).toEqual([
    { pid: 708, exclusive: true, inode: 1234 },
    { pid: -1, exclusive: false, inode: 99 },
  ]);
  const owner = { cluster: "c", node: "n", raylet: "r", lease: "l", pid: 7 };
  expect(parseLockOwner(JSON.stringify(owner))).toEqual(owner);
  for (const bad of [
    "",
    "{",
    "[]",
    "null",
    JSON.stringify({ ...owner, node: 7 }),
    JSON.stringify({ ...owner, pid: "7" }),
  ])
    expect(parseLockOwner(bad)).toBeUndefined();
});

test("declared devices have nobody to ask", async () => {
  const probe = memoryProbe({});
  const found = await detectDevices({ plugins: [nvidia], declared: { GPU: 1 }, probe, environment: {}, nodeName: "n" });
  const eyes = new PluginEyes({
    ...{ plugins: [nvidia], fingerprints: found.fingerprints, devices: found.devices, probe },
    userOf: async (pid) => ({ is: "unseen", pid }),
    holders: async () => new Map(),
  });
  expect(await eyes.look(false)).toEqual({ devices: [{ uuid: found.devices[0]!.uuid, health: "ok" }] });
});
