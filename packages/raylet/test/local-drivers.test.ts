import { SimulatedClock } from "@whipray/core";
import { expect, test } from "vitest";
import { LOCAL_DRIVER_GONE_MS, LocalDrivers } from "../src/local-drivers.ts";

function drivers() {
  const clock = new SimulatedClock();
  const gone: string[] = [];
  return { clock, gone, local: new LocalDrivers(clock, (address) => gone.push(address)) };
}

test("a driver of this machine is gone when its last link is, and none comes back", async () => {
  const { clock, gone, local } = drivers();
  local.linked("head/driver_a", true);
  local.linked("head/driver_a", false);
  local.lost("head/driver_a");
  await clock.run(LOCAL_DRIVER_GONE_MS);
  expect(gone).toEqual([]);
  local.lost("head/driver_a");
  await clock.run(LOCAL_DRIVER_GONE_MS - 1);
  expect(gone).toEqual([]);
  await clock.run(1);
  expect(gone).toEqual(["head/driver_a"]);
});

test("one that comes back in time, and one of another machine, are not", async () => {
  const { clock, gone, local } = drivers();
  local.linked("head/driver_a", true);
  local.lost("head/driver_a");
  local.linked("head/driver_a", true);
  local.linked("head/driver_b", false);
  local.lost("head/driver_b");
  local.lost("head/driver_unknown");
  await clock.run(10 * LOCAL_DRIVER_GONE_MS);
  expect(gone).toEqual([]);
});
