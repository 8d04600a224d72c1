import { DeviceTopology, type LinkMatrix, linkDomains, type NamedLink, packLinks } from "@whipray/core";

export const WHOLE = 10_000;

export function uuid(index: number): string {
  return `gpu-${index}`;
}

/** Eight GPUs on two NUMA nodes: all linked by NVLink (`mesh`), or two by two with SYS between. */
export function eightGpus(shape: "mesh" | "pairs"): { topology: DeviceTopology; matrix: LinkMatrix } {
  const indices = [0, 1, 2, 3, 4, 5, 6, 7];
  const links = indices.flatMap((a) =>
    indices.slice(a + 1).map((b): NamedLink => {
      const near = shape === "mesh" || (a % 2 === 0 && b === a + 1);
      const word = near ? { name: "NV18", score: 1_018, fabric: true } : { name: "SYS", score: 100, fabric: false };
      return { from: uuid(a), to: uuid(b), ...word };
    }),
  );
  const uuids = indices.map(uuid);
  const domains = linkDomains(uuids, links);
  const matrix = packLinks(uuids, links)!;
  const devices = indices.map((index) => {
    return { uuid: uuid(index), index, numaNode: index < 4 ? 0 : 1, linkDomain: domains.get(uuid(index)) };
  });
  return { topology: new DeviceTopology(devices, matrix), matrix };
}
