import { byteSize } from "../byte-size.ts";
import { firstText, members, parseJsonOutput, textOf } from "../json-output.ts";
import type { LinkKind } from "../link.ts";
import type { RowLink } from "../look.ts";
import { pciAddressOf } from "../pci.ts";
import { decimalNumber, wholeNumber } from "../tool-lines.ts";
import { RowList, type ToolOutput } from "../tool-row.ts";

/** What `rocm-smi` and its relative `hy-smi` are asked, all in one run. */
export const ROCM_ARGUMENTS = [
  ...["-i", "--showmeminfo", "vram", "--showpower", "--showuse", "--showtemp"],
  ...["--showproductname", "--showuniqueid", "--json"],
] as const;

const LINK = /^\(Topology\) Link type between DRM devices (\d{1,4}) and (\d{1,4})$/;

/** How a maker's cards are known: by their `Card Vendor`, in old versions by the words for the part in use. */
export interface RocmMaker {
  readonly name: RegExp;
  readonly use: RegExp;
}

/**
 * Reads the JSON of `rocm-smi` and `hy-smi`: a member a card, keys of prose that changed over the versions, values that are
 * texts. Never throws.
 * @param maker tells this vendor's cards from others that the tool may list.
 */
export function parseRocmSmi(text: string, maker: RocmMaker): ToolOutput & { links: readonly RowLink[] } {
  const list = new RowList();
  const links: RowLink[] = [];
  let version: string | undefined;
  for (const [key, card] of members(parseJsonOutput(text, list.warnings))) {
    const index = wholeNumber(/^card(\d{1,4})$/.exec(key)?.[1]);
    if (key === "system") {
      version = firstText(card, ["Driver version", "Driver Version"]);
      links.push(...linksOf(card));
    } else if (index !== undefined) {
      const vendor = firstText(card, ["Card Vendor", "Card vendor"]);
      if (maker.name.test(vendor ?? "") || (vendor === undefined && isMakers(card, maker)))
        list.add(rowOf(index, card));
    }
  }
  return { ...list.output(version), links };
}

function isMakers(card: unknown, { use }: RocmMaker): boolean {
  return members(card).some(([key]) => use.test(key));
}

function rowOf(index: number, card: unknown) {
  const number = (...names: string[]) => decimalNumber(firstText(card, names));
  const memory = (kind: string) => {
    const [name, value] =
      members(card).find(([key]) => new RegExp(`^vram Total ${kind} \\((B|MiB)\\)$`, "i").test(key)) ?? [];
    return typeof value === "string" ? byteSize(value, name!.endsWith("(B)") ? "B" : "MiB") : undefined;
  };
  const pciAddress = pciAddressOf(textOf(card, "PCI Bus"));
  const unique = firstText(card, ["Unique ID"]);
  const numaNode = wholeNumber(textOf(card, "(Topology) Numa Node"));
  const percent = number("GPU use (%)", "DCU use (%)", "HCU use (%)");
  const temperatureC = number("Temperature (Sensor junction) (C)", "Temperature (Sensor edge) (C)");
  const powerW = number("Average Graphics Package Power (W)", "Current Socket Graphics Package Power (W)");
  const memoryTotalBytes = memory("Memory");
  const memoryUsedBytes = memory("Used Memory");
  return {
    index,
    name: firstText(card, ["Card Series", "Card series", "Device Name", "Card Model", "Card model"]) ?? "",
    ...(pciAddress && { pciAddress }),
    // Old cards have none, or zero.
    ...(!pciAddress && unique && /^0x0*[1-9a-f]/i.test(unique) && { uuid: `ROCM-${unique.slice(0, 64)}` }),
    ...(numaNode !== undefined && { numaNode }),
    ...(percent !== undefined && { utilization: percent / 100 }),
    ...(temperatureC !== undefined && { temperatureC }),
    ...(powerW !== undefined && { powerW }),
    ...(memoryTotalBytes ? { memoryTotalBytes } : {}),
    ...(memoryUsedBytes !== undefined && { memoryUsedBytes }),
  };
}

function linksOf(system: unknown): RowLink[] {
  return members(system).flatMap(([key, type]) => {
    const [, from, to] = LINK.exec(key) ?? [];
    if (from === undefined || from === to || typeof type !== "string") return [];
    const hops = wholeNumber(textOf(system, `(Topology) Hops between DRM devices ${from} and ${to}`));
    const kind = rocmLinkKind(type, hops);
    return kind ? [{ from: Number(from), to: Number(to!), kind }] : [];
  });
}

/** ROCm counts hops over PCIe: one is a switch, two pass one CPU, more pass the sockets' own link. */
export function rocmLinkKind(type: string, hops: number | undefined): LinkKind | undefined {
  if (type === "XGMI") return "XGMI";
  if (!/^PCIE?$/i.test(type)) return undefined;
  if (hops === 1) return "PXB";
  return hops === 2 ? "NODE" : "SYS";
}
