import { DEVICE_RESOURCES, toProcessUnits, toUnits, WHOLE_RESOURCES } from "@whipray/core";
import { expect, test } from "vitest";

test("devices that cannot be shared are asked for whole, as in Ray (ray.md section 5)", () => {
  for (const name of DEVICE_RESOURCES) {
    expect(toUnits({ [name]: 2 })).toEqual({ [name]: 20_000 });
    if (WHOLE_RESOURCES.has(name)) expect(() => toUnits({ [name]: 0.5 })).toThrow(/must be a whole number/);
    else expect(toUnits({ [name]: 0.5 })).toEqual({ [name]: 5_000 });
  }
});

test("ray 5: a process gets 1, 2, 4 or 8 TPU chips; a bundle may hold any number for several", () => {
  for (const chips of [1, 2, 4, 8]) expect(toProcessUnits({ TPU: chips })).toEqual({ TPU: chips * 10_000 });
  expect(toProcessUnits({ TPU: 0, GPU: 3 })).toEqual({ GPU: 30_000 });
  for (const chips of [3, 5, 6, 7, 16]) {
    expect(() => toProcessUnits({ TPU: chips }, "resources of the actor")).toThrow(
      `resources of the actor: TPU is given to one process as 1, 2, 4, 8 only; got ${chips}`,
    );
    expect(toUnits({ TPU: chips })).toEqual({ TPU: chips * 10_000 });
  }
});
