import { describe, expect, test } from "vitest";
import { ascend, detectDevices, type Environment, memoryProbe, nvidia, visibleListOf } from "../src/index.ts";
import { fixture } from "./fixture.ts";

const L40S = fixture("nvidia-smi-query-4xL40S.csv");

/** Indices of the GPUs that a node with this list offers. */
async function offered(value: string | undefined, tool: Record<string, string> = { query: L40S }) {
  const environment: Environment = { CUDA_VISIBLE_DEVICES: value };
  const probe = memoryProbe({ tools: { "nvidia-smi": ([first]) => tool[first === "-L" ? "list" : "query"]! } });
  const { devices } = await detectDevices({ plugins: [nvidia], probe, environment, nodeName: "n" });
  return devices.map(({ index, uuid }) => (uuid.startsWith("MIG-") ? uuid : index));
}

describe("B41: the node's own CUDA_VISIBLE_DEVICES", () => {
  test.each<[string | undefined, number[]]>([
    [undefined, [0, 1, 2, 3]],
    ["", []],
    ["  ", []],
    ["-1", []],
    ["NoDevFiles", []],
    ["0", [0]],
    ["2,0", [2, 0]],
    [" 1 , 3 ", [1, 3]],
    ["1,-1,2", [1]],
    ["GPU-5a10c0de-0a01-4b1d-9c00-0000000000a2", [2]],
    ["GPU-7b77,0", [3, 0]],
  ])("%j leaves %j", async (value, indices) => {
    expect(await offered(value)).toEqual(indices);
  });

  test.each([
    ["0,0", "listed twice"],
    ["0,00", "already listed"],
    ["3,GPU-7b77", "already listed"],
    ["9", "unknown"],
    ["0,4", "unknown"],
    ["GPU-5a10", "means 3 devices"],
    ["GPU-ffff", "unknown"],
    ["MIG-6b20c0de-0b02-4b1d-9c00-0000000001b1", "unknown"],
    ["0,,1", "not a device index or UUID"],
    ["0,1,", "not a device index or UUID"],
    ["0;1", "not a device index or UUID"],
    ["1.5", "unknown"],
    ["0x1", "unknown"],
    ["$(reboot)", "not a device index or UUID"],
  ])("%j is refused at start, naming the value", async (value, rule) => {
    const refusal = offered(value);
    await expect(refusal).rejects.toMatchObject({
      code: "INVALID_VISIBLE_DEVICES",
      message: expect.stringContaining(rule),
      details: { variable: "CUDA_VISIBLE_DEVICES", value },
    });
    await expect(refusal).rejects.toThrow(`CUDA_VISIBLE_DEVICES="${value}"`);
  });

  test("a list of more than 256 entries is refused, a long one is not repeated whole", async () => {
    const value = Array.from({ length: 100_000 }, (_, n) => n).join(",");
    const error = await offered(value).catch((reason: Error) => reason);
    expect(error).toMatchObject({ code: "INVALID_VISIBLE_DEVICES", message: expect.stringContaining("limit of 256") });
    expect((error as Error).message.length).toBeLessThan(500);
  });

  const mig = { query: fixture("nvidia-smi-query-2xA30-mig.csv"), list: fixture("nvidia-smi-L-2xA30-mig.txt") };

  test("MIG devices are used where they are named, in both forms", async () => {
    const both = ["MIG-6b20c0de-0b02-4b1d-9c00-0000000001b1", "MIG-GPU-6b20c0de-0b02-4b1d-9c00-0000000000b1/5/0"];
    expect(await offered(both.join(","), mig)).toEqual(both);
    expect(await offered(undefined, mig)).toEqual([0]);
  });

  test("a GPU in MIG mode is refused with the reason", async () => {
    await expect(offered("1", mig)).rejects.toThrow(/entry "1" cannot be used: GPU 1 is in MIG mode/);
  });

  test("where no device is known, only the form is checked, and a warning tells of the list", async () => {
    const probe = memoryProbe({});
    const at = (value: string) =>
      detectDevices({ plugins: [nvidia], probe, environment: { CUDA_VISIBLE_DEVICES: value }, nodeName: "n" });
    expect(await at("0")).toMatchObject({ devices: [], warnings: [expect.stringContaining("no such device")] });
    await expect(at("0,0")).rejects.toMatchObject({ code: "INVALID_VISIBLE_DEVICES" });
  });
});

test("ASCEND_RT_VISIBLE_DEVICES takes indices only, inside the enumeration", async () => {
  const probe = memoryProbe({ folders: { "/dev": ["davinci0", "davinci1"] } });
  const at = async (value: string) => {
    const environment = { ASCEND_RT_VISIBLE_DEVICES: value };
    return (await detectDevices({ plugins: [ascend], probe, environment, nodeName: "n" })).devices.map((d) => d.index);
  };
  expect(await at("1")).toEqual([1]);
  expect(await at("")).toEqual([]);
  for (const value of ["2", "NPU-x", "1,1"]) {
    await expect(at(value)).rejects.toMatchObject({ code: "INVALID_VISIBLE_DEVICES" });
  }
});

test("an absent variable is no list; an empty one is an empty list", () => {
  expect(visibleListOf(nvidia, {})).toBeUndefined();
  expect(visibleListOf(nvidia, { CUDA_VISIBLE_DEVICES: "" })).toEqual([]);
});
