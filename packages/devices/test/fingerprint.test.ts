import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Device, type Fingerprint, fakeDevice, lockNameOf, refreshFingerprint } from "../src/index.ts";

const look = (state: Fingerprint["state"], indices: number[] = [], more: Partial<Fingerprint> = {}): Fingerprint => ({
  vendor: "nvidia",
  state,
  devices: indices.map((index) => fakeDevice("GPU", "n", index)),
  partitions: [],
  unusable: [],
  links: [],
  warnings: [],
  tool: "nvidia-smi",
  elapsedMs: 1,
  ...more,
});
const failed = look("unknown", [], { error: { code: "PROBE_TIMEOUT", message: "killed" }, elapsedMs: 5_000 });

describe("a second look", () => {
  test("F35: a failed one keeps the last known devices, marked stale, until a good one", () => {
    const stale = refreshFingerprint(look("ok", [0, 1]), failed);
    expect(stale).toMatchObject({ state: "ok", stale: true, error: { code: "PROBE_TIMEOUT" }, devices: { length: 2 } });
    expect(refreshFingerprint(stale, failed).stale).toBe(true);
    expect(refreshFingerprint(stale, look("ok", [0, 1]))).toEqual(look("ok", [0, 1]));
  });

  test("F34: a device that disappears stays listed as unhealthy, and recovers when it is back", () => {
    const lost = refreshFingerprint(look("ok", [0, 1, 2]), look("ok", [0, 2]));
    expect(lost.devices.map(({ index, health }) => [index, health])).toEqual([
      [0, "ok"],
      [1, "unhealthy"],
      [2, "ok"],
    ]);
    expect(lost.devices[1]?.healthReason).toBe("nvidia-smi no longer lists it");
    expect(refreshFingerprint(lost, look("none")).devices.every(({ health }) => health === "unhealthy")).toBe(true);
    expect(refreshFingerprint(lost, look("ok", [0, 1, 2]))).toEqual(look("ok", [0, 1, 2]));
  });

  test("a device whose identity is told less well later keeps its uuid and is not listed twice", () => {
    const device = { ...fakeDevice("NPU", "n", 0), uuid: "NPU-2-0-0", lockName: "NPU-davinci0" };
    const later = { ...device, uuid: "NPU-davinci0", health: "unknown" as const };
    const refreshed = refreshFingerprint(look("ok", [], { devices: [device] }), look("ok", [], { devices: [later] }));
    expect(refreshed.devices).toEqual([{ ...later, uuid: "NPU-2-0-0" }]);
  });

  test("a device with a uuid of its own keeps it when it gets another's number, and the other one is lost", () => {
    const [a, b, c] = [0, 1, 2].map((index) => fakeDevice("GPU", "n", index)) as [Device, Device, Device];
    const renumbered = { ...c, index: 1, lockName: b.lockName };
    const refreshed = refreshFingerprint(
      look("ok", [], { devices: [a, b, c] }),
      look("ok", [], { devices: [a, renumbered] }),
    );
    const health = (uuid: string) => refreshed.devices.filter((one) => one.uuid === uuid).map((one) => one.health);
    expect([health(a.uuid), health(b.uuid), health(c.uuid)]).toEqual([["ok"], ["unhealthy"], ["ok"]]);
  });

  test("links follow the uuid that a device keeps", () => {
    const seen = fakeDevice("NPU", "n", 0);
    const told = { ...seen, uuid: "NPU-3-0-0" };
    const other = fakeDevice("NPU", "n", 1);
    const links = [{ from: told.uuid, to: other.uuid, kind: "HCCS" as const }];
    const before = { ...look("ok"), devices: [seen, other] };
    const after = refreshFingerprint(before, { ...look("ok"), devices: [told, other], links });
    expect(after.links).toEqual([{ from: seen.uuid, to: other.uuid, kind: "HCCS" }]);
  });

  test("after an unknown or empty first look the next one counts as it is", () => {
    expect(refreshFingerprint(failed, failed)).toEqual(failed);
    expect(refreshFingerprint(failed, look("ok", [0]))).toEqual(look("ok", [0]));
    expect(refreshFingerprint(look("none"), look("none"))).toEqual(look("none"));
  });
});

describe("lock names", () => {
  const identity = fc.oneof(
    fc.string({ unit: "binary", maxLength: 300 }),
    fc.stringMatching(/^[A-Za-z0-9._/:-]{0,40}$/),
  );

  test("are safe file names for any identity", () => {
    fc.assert(fc.property(identity, (text) => /^[A-Za-z0-9_-]{1,200}$/.test(lockNameOf(text))));
  });

  test("differ for different identities", () => {
    fc.assert(fc.property(identity, identity, (a, b) => a === b || lockNameOf(a) !== lockNameOf(b)));
    const near = ["", "_", "a/b", "a_b", "a_2f_b", "a:b", "A/b", "..", "."];
    expect(new Set(near.map(lockNameOf)).size).toBe(near.length);
    expect(lockNameOf("x".repeat(300))).not.toBe(lockNameOf("x".repeat(301)));
  });
});
