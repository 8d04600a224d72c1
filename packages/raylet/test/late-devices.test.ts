import { writeFileSync } from "node:fs";
import { SimulatedClock, seededRandom, silentLogger, WhiprayError } from "@whipray/core";
import {
  builtinPlugins,
  type DevicePlugin,
  detectDevices,
  memoryProbe,
  type NodeDevices,
  type ToolStory,
} from "@whipray/devices";
import { describe, expect, onTestFinished, test } from "vitest";
import { LateDevices, type LateProbe, type MoreDevices, PROBE_AGAIN } from "../src/late-devices.ts";
import { nodeDevices } from "../src/node-devices.ts";
import { NodeInventory } from "../src/node-inventory.ts";
import { realRaylet } from "./real-raylet.ts";
import { temporaryFolder, until } from "./temporary-folder.ts";

const NONE: MoreDevices = { devices: [], links: undefined, scalars: {} };

function watched(look: LateProbe["look"]) {
  const clock = new SimulatedClock();
  const found: MoreDevices[] = [];
  const tries: number[] = [];
  const probe: LateProbe = {
    look() {
      tries.push(clock.now());
      return look();
    },
  };
  const random = seededRandom(1);
  const late = new LateDevices({ probe, clock, random, logger: silentLogger, onMore: (more) => found.push(more) });
  late.start();
  return { clock, found, tries, late };
}

describe("a probe that failed when the node started", () => {
  test("is tried again with growing waits, up to a limit, until it tells", async () => {
    let again = true;
    const { clock, tries, found } = watched(async () => (again ? { again } : { again, more: NONE }));
    await clock.run(4 * PROBE_AGAIN.maxMs);
    const waits = tries.map((atMs, at) => atMs - (tries[at - 1] ?? 0));
    expect(waits[0]).toBeLessThanOrEqual(PROBE_AGAIN.firstMs);
    for (const [at, waitMs] of waits.entries()) {
      const fullMs = Math.min(PROBE_AGAIN.maxMs, PROBE_AGAIN.firstMs * 2 ** at);
      expect(waitMs).toBeGreaterThanOrEqual(fullMs * (1 - PROBE_AGAIN.jitter) - 1);
      expect(waitMs).toBeLessThanOrEqual(fullMs + 1);
    }
    again = false;
    await clock.run(PROBE_AGAIN.maxMs);
    expect(found).toEqual([NONE]);
    const { length } = tries;
    await clock.run(4 * PROBE_AGAIN.maxMs);
    expect(tries).toHaveLength(length);
  });

  test("is left alone where the node's own list does not fit what is found, and after the node's end", async () => {
    const refused = watched(async () => {
      throw new WhiprayError({ code: "INVALID_VISIBLE_DEVICES", message: "entry 9 is unknown here" });
    });
    await refused.clock.run(4 * PROBE_AGAIN.maxMs);
    expect(refused.tries).toHaveLength(1);
    const closed = watched(async () => ({ again: true }));
    closed.late.close();
    await closed.clock.run(PROBE_AGAIN.maxMs);
    expect(closed.tries).toEqual([]);
  });

  test("is not tried again for a resource that somebody declared; what is known keeps its place when others come", async () => {
    const csv = "index, uuid, name, memory.total [MiB], driver_version\n0, GPU-00000000-aaaa, H100, 81559 MiB, 570.1\n";
    const story: { nvidia: ToolStory } = { nvidia: { end: "timeout" } };
    const probe = memoryProbe({
      folders: { "/dev/tenstorrent": ["0"] },
      tools: { "nvidia-smi": () => story.nvidia },
    });
    const detect = (plugins: readonly DevicePlugin[], declared: Record<string, number> = {}) =>
      detectDevices({ plugins, declared, probe, environment: {}, nodeName: "n" });
    const make = async (declared: Record<string, number>) => {
      const found = await detect(builtinPlugins, declared);
      const offer = (some: Pick<NodeDevices, "devices" | "links">) => nodeDevices(some, { locks: "/l", node: "/n" });
      const scalars = (devices: readonly { resource: string }[]) => ({ seen: devices.length });
      return new NodeInventory({ plugins: builtinPlugins, declared, found, detect, offer, scalars });
    };
    expect((await make({ GPU: 2 })).complete).toBe(true);
    const inventory = await make({});
    const [devices, offered] = [inventory.devices, inventory.offered];
    expect(inventory.complete).toBe(false);
    expect(await inventory.look()).toEqual({ again: true });
    story.nvidia = csv;
    const { more, again } = await inventory.look();
    expect(again).toBe(false);
    expect(more).toMatchObject({ devices: [{ uuid: "GPU-00000000-aaaa", resource: "GPU" }], scalars: { seen: 2 } });
    expect(devices.map(({ resource }) => resource)).toEqual(["TTNPU", "GPU"]);
    expect(offered.map(({ lockPath }) => lockPath)).toEqual([
      "/l/whipray-TT-0.lock",
      "/l/whipray-GPU-00000000-aaaa.lock",
    ]);
  });

  test("tells at last: the node registers again with the devices, and grants them", async () => {
    const tools = temporaryFolder();
    const tool = (script: string) => writeFileSync(`${tools}/nvidia-smi`, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    tool("echo 'NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver'; exit 9");
    const raylet = await realRaylet(temporaryFolder(), { deviceRoot: "/", tools });
    onTestFinished(raylet.stop);
    expect(raylet.registrations).toMatchObject([{ devices: [] }]);
    expect(raylet.registrations[0]!.total).not.toHaveProperty("GPU");
    expect((await raylet.start("Counter")).answer).toMatchObject({ ok: false });
    const uuid = "GPU-00000000-aaaa-bbbb-cccc-000000000000";
    writeFileSync(
      `${tools}/table`,
      `index, uuid, name, memory.total [MiB], driver_version\n0, ${uuid}, NVIDIA H100 80GB HBM3, 81559 MiB, 570.1\n`,
    );
    tool(`case "$1" in
  --query-compute-apps*) echo "gpu_uuid, pid, used_gpu_memory [MiB], process_name" ;;
  --query-gpu*) cat ${tools}/table ;;
  *) exit 1 ;;
esac`);
    await until("it registered again", () => raylet.registrations.length > 1, 60_000);
    expect(raylet.registrations.at(-1)).toMatchObject({
      inc: raylet.registrations[0]!.inc,
      devices: [{ uuid, acceleratorType: "H100" }],
      total: { GPU: 10_000, "accelerator_type:H100": 10_000 },
      view: { devices: { [uuid]: 10_000 } },
    });
    const { answer } = await raylet.start("Engine");
    expect(answer).toMatchObject({ ok: true, devices: [{ uuid }] });
    await until("a look found it well", () => raylet.raylet.describe().view.withheld === undefined);
  }, 120_000);
});
