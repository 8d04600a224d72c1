import { PROCESS_AMOUNTS, WhiprayError } from "@whipray/core";
import { deviceFiles, type FilePlace, fileOf, type Look, noDevices, pciVendorOf } from "../look.ts";
import { pciAddressOf } from "../pci.ts";
import type { DevicePlugin } from "../plugin.ts";
import type { Probe } from "../probe.ts";
import type { ToolRow } from "../tool-row.ts";
import { vendorPlugin } from "../vendor-plugin.ts";
import { isNoset } from "../visibility.ts";

const PCI_VENDOR = "0x1ae0";
const ACCEL: FilePlace = { folder: "/dev", before: "accel" };
const VFIO: FilePlace = { folder: "/dev/vfio", before: "" };
/** PCI device number → Ray's type. Versions 2 and 3 share 0x0027 and stay untold. */
const VERSIONS: Readonly<Record<string, string>> = {
  "0x005e": "TPU-V4",
  "0x0062": "TPU-V5P",
  "0x0063": "TPU-V5LITEPOD",
  "0x006f": "TPU-V6E",
};
/** Chips that one process may get, and how they lie on the board (columns, rows, layers). */
const BOUNDS: ReadonlyMap<number, string> = new Map([
  [1, "1,1,1"],
  [2, "1,2,1"],
  [4, "2,2,1"],
  [8, "2,4,1"],
]);

const base = vendorPlugin({
  vendor: "tpu",
  resource: "TPU",
  tool: "/dev",
  prefix: "TPU",
  variable: "TPU_VISIBLE_CHIPS",
  reserved: ["TPU_CHIPS_PER_HOST_BOUNDS", "TPU_HOST_BOUNDS"],
  wholeOnly: true,
  acceleratorType: (name) => name || "TPU",
  look,
});

/**
 * Google TPU chips by their device files. A chip must be of Google's PCI vendor number, since other makers' drivers make
 * `/dev/accelN` and `/dev/vfio/N` too (reliability, device rule 6).
 */
export const tpu: DevicePlugin = {
  ...base,
  grantSizes: PROCESS_AMOUNTS.get("TPU")!,
  visibility(request) {
    if (isNoset(base, request)) return {};
    const { granted, offered } = request;
    // Ray: with all chips the framework's defaults are right, also for a slice of many hosts.
    if (granted.length > 0 && offered?.filter(({ vendor }) => vendor === base.vendor).length === granted.length)
      return {};
    const bounds = BOUNDS.get(granted.length);
    if (granted.length > 0 && bounds === undefined) {
      throw new WhiprayError({
        code: "INVALID_DEVICE_COUNT",
        message: `a process can see 1, 2, 4 or 8 TPU chips of a host, not ${granted.length}`,
        details: { resource: base.resource, value: granted.length, allowed: tpu.grantSizes },
      });
    }
    const shape = bounds && { TPU_CHIPS_PER_HOST_BOUNDS: bounds, TPU_HOST_BOUNDS: "1,1,1" };
    return { ...base.visibility(request), ...shape };
  },
};

async function look(probe: Probe): Promise<Look> {
  const rows = (await accelChips(probe)) ?? (await vfioChips(probe));
  if (rows.length === 0) return noDevices();
  return { rows, unusable: [], warnings: [], state: "ok", elapsedMs: 0 };
}

/** Chips of TPU VMs with Google's own driver; undefined when there are none. */
async function accelChips(probe: Probe): Promise<ToolRow[] | undefined> {
  const numbers = (await deviceFiles(probe, ACCEL)) ?? [];
  const rows: ToolRow[] = [];
  for (const index of numbers) {
    const path = `/sys/class/accel/accel${index}`;
    if ((await pciVendorOf(probe, path)) !== PCI_VENDOR) continue;
    const version = (await probe.read(`${path}/device/device`))?.trim().toLowerCase();
    const uevent = (await probe.read(`${path}/device/uevent`)) ?? "";
    const pciAddress = pciAddressOf(/^PCI_SLOT_NAME=(\S{1,32})$/m.exec(uevent)?.[1]);
    rows.push(rowOf(index, fileOf(ACCEL, index), version, pciAddress));
  }
  return rows.length > 0 ? rows : undefined;
}

/** Chips of newer TPU VMs: one group of the IOMMU each. Their numbers follow the groups. */
async function vfioChips(probe: Probe): Promise<ToolRow[]> {
  const groups = (await deviceFiles(probe, VFIO)) ?? [];
  const rows: ToolRow[] = [];
  for (const group of groups) {
    const { entries = [] } = await probe.list(`/sys/kernel/iommu_groups/${group}/devices`);
    for (const { name } of entries) {
      const path = `/sys/bus/pci/devices/${name}`;
      const pciAddress = pciAddressOf(name);
      if (!pciAddress || (await probe.read(`${path}/vendor`))?.trim().toLowerCase() !== PCI_VENDOR) continue;
      const version = (await probe.read(`${path}/device`))?.trim().toLowerCase();
      rows.push(rowOf(rows.length, fileOf(VFIO, group), version, pciAddress));
    }
  }
  return rows;
}

function rowOf(index: number, file: string, version: string | undefined, pciAddress: string | undefined): ToolRow {
  const name = VERSIONS[version ?? ""] ?? "";
  return { index, name, untold: true, files: [file], ...(pciAddress && { pciAddress }) };
}
