import { pciOfClass, pciVendorOf } from "./look.ts";
import type { Probe } from "./probe.ts";

const CARD_LIMIT = 256;

/** A graphics card that the kernel's driver shows in sysfs. */
export interface DrmCard {
  readonly pciAddress: string;
}

/** Cards of one PCI vendor (`0x1002`), in the order of their addresses. Read from sysfs, which cannot hang. */
export async function drmCards(probe: Probe, vendor: string): Promise<DrmCard[]> {
  const { entries = [] } = await probe.list("/sys/class/drm");
  const names = entries.map(({ name }) => name).filter((name) => /^card\d{1,4}$/.test(name));
  const cards: DrmCard[] = [];
  for (const name of names.slice(0, CARD_LIMIT)) {
    const path = `/sys/class/drm/${name}`;
    if ((await pciVendorOf(probe, path)) !== vendor) continue;
    const pciAddress = await pciOfClass(probe, path);
    if (pciAddress !== undefined) cards.push({ pciAddress });
  }
  return cards.sort((left, right) => (left.pciAddress < right.pciAddress ? -1 : 1));
}
