import { type LinkMatrix, linkDomains, type NamedLink, packLinks } from "@whipray/core";
import { type DeviceLink, FAKE_VENDOR, type LinkKind, linkScore, type NodeDevices } from "@whipray/devices";
import { CPU_LIST_LIMIT_CHARS } from "@whipray/rpc";
import type { NodeDevice } from "./node-identity.ts";

/** Ways over the host: they join no link domain. */
const OVER_PCIE: ReadonlySet<LinkKind> = new Set(["PIX", "PXB", "PHB", "NODE", "SYS"]);

/**
 * What detection found, in the words of the ledger and the wire. Locks lie in the folder that all raylets of this host share (`locks`); what
 * is declared on a machine that has no such device exists in one raylet alone, and locks in its own, as all do that nobody else
 * can have (`alone`). What is declared because a probe failed stands for a real device, and is locked as one.
 */
export function nodeDevices(
  found: Pick<NodeDevices, "devices" | "links">,
  folders: { readonly locks: string; readonly node: string },
  alone = false,
): { devices: NodeDevice[]; links: LinkMatrix | undefined } {
  const links = found.links.map(namedLink);
  const uuids = found.devices.map((device) => device.uuid);
  const domains = linkDomains(uuids, links);
  const devices = found.devices.map((device): NodeDevice => {
    const { uuid, index, resource, vendor, model, acceleratorType, health } = device;
    const { memoryBytes, pciAddress, numaNode, cpuAffinity, healthReason } = device;
    const linkDomain = domains.get(uuid);
    const shared = !alone && (vendor !== FAKE_VENDOR || device.onTrust === true);
    const lockPath = `${shared ? folders.locks : folders.node}/whipray-${device.lockName}.lock`;
    return {
      ...{ uuid, index, resource, vendor, model, acceleratorType, health, lockPath, shared },
      ...(memoryBytes !== undefined && { memoryBytes }),
      ...(pciAddress !== undefined && { pciAddress }),
      ...(numaNode !== undefined && { numaNode }),
      ...(cpuAffinity !== undefined && cpuAffinity.length <= CPU_LIST_LIMIT_CHARS && { cpuAffinity }),
      ...(linkDomain !== undefined && { linkDomain }),
      ...(healthReason !== undefined && { healthReason: healthReason.slice(0, 512) }),
    };
  });
  return { devices, links: packLinks(uuids, links) };
}

/** `NV18` as nvidia-smi prints it; of other fabrics the word, and the lanes where they are known: `XGMI`, `HCCS`. */
export function namedLink(link: DeviceLink): NamedLink {
  const { from, to, kind, lanes } = link;
  const name = kind === "NVLINK" ? `NV${lanes ?? ""}` : lanes === undefined || lanes === 1 ? kind : `${kind} x${lanes}`;
  return { from, to, name, score: linkScore(link), fabric: !OVER_PCIE.has(kind) };
}
