import { DEVICE_RESOURCES, toUnits, WHOLE_RESOURCES } from "@whipray/core";
import { expect, test } from "vitest";

test("devices that cannot be shared are asked for whole, as in Ray (ray.md section 5)", () => {
  for (const name of DEVICE_RESOURCES) {
    expect(toUnits({ [name]: 2 })).toEqual({ [name]: 20_000 });
    if (WHOLE_RESOURCES.has(name)) expect(() => toUnits({ [name]: 0.5 })).toThrow(/must be a whole number/);
    else expect(toUnits({ [name]: 0.5 })).toEqual({ [name]: 5_000 });
  }
});
