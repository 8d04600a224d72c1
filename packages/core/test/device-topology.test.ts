import {
  DeviceTopology,
  LINK_KINDS_LIMIT,
  LINKED_DEVICES_LIMIT,
  linkDomains,
  type NamedLink,
  packLinks,
  showDevices,
} from "@whipray/core";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { eightGpus, uuid, WHOLE } from "./topologies.ts";

const word = (score: number) => ({ name: `L${score}`, score, fabric: score > 1_000 });

describe("links on the wire", () => {
  test("what is packed is read back, pair by pair, in both directions", () => {
    const pairs = fc.uniqueArray(fc.tuple(fc.nat(11), fc.nat(11), fc.nat(20)), {
      selector: ([a, b]) => `${Math.min(a, b)} ${Math.max(a, b)}`,
    });
    fc.assert(
      fc.property(pairs, (drawn) => {
        const links = drawn.map(([a, b, score]): NamedLink => ({ from: uuid(a), to: uuid(b), ...word(score) }));
        const uuids = Array.from({ length: 12 }, (_, index) => uuid(index));
        const matrix = packLinks(uuids, links);
        const topology = new DeviceTopology(
          uuids.map((one, index) => ({ uuid: one, index })),
          matrix,
        );
        for (const a of uuids) {
          for (const b of uuids) {
            const link = links.find(
              ({ from, to }) => from !== to && ((from === a && to === b) || (from === b && to === a)),
            );
            expect(topology.link(a, b)?.name).toBe(link?.name);
          }
        }
      }),
    );
  });

  test("eight GPUs take 28 characters", () => {
    expect(eightGpus("pairs").matrix.pairs).toBe("0111111111111011111111011110");
  });

  test("more devices or kinds than the limits: nothing is told", () => {
    const uuids = Array.from({ length: LINKED_DEVICES_LIMIT + 1 }, (_, index) => uuid(index));
    const links = uuids.slice(1, LINK_KINDS_LIMIT + 2).map((to, at): NamedLink => ({ from: uuid(0), to, ...word(at) }));
    expect(packLinks(uuids, links)).toBeUndefined();
    expect(packLinks(uuids.slice(0, 100), links)).toBeUndefined();
    expect(packLinks(uuids.slice(0, 100), links.slice(1))?.kinds).toHaveLength(LINK_KINDS_LIMIT);
    expect(packLinks(uuids.slice(0, LINKED_DEVICES_LIMIT), links.slice(1))?.pairs).toHaveLength(32_640);
  });

  test("links of other devices are refused", () => {
    const { matrix } = eightGpus("mesh");
    expect(() => new DeviceTopology([{ uuid: "a", index: 0 }], matrix)).toThrow(/1 devices have 0 pairs/);
  });
});

describe("link domains", () => {
  test("what a fabric joins, over others too; PCIe joins nothing", () => {
    const links = [
      { from: uuid(0), to: uuid(1), ...word(1_004) },
      { from: uuid(1), to: uuid(2), ...word(1_004) },
      { from: uuid(3), to: uuid(4), ...word(400) },
      { from: uuid(5), to: uuid(6), ...word(1_004) },
    ];
    const domains = linkDomains([0, 1, 2, 3, 4, 5, 6].map(uuid), links);
    expect([...domains]).toEqual([
      ["gpu-0", "fabric-0"],
      ["gpu-1", "fabric-0"],
      ["gpu-2", "fabric-0"],
      ["gpu-5", "fabric-1"],
      ["gpu-6", "fabric-1"],
    ]);
  });

  test("a shared domain is a link where no matrix says more", () => {
    const devices = [0, 1, 2].map((index) => ({ uuid: uuid(index), index, linkDomain: index < 2 ? "a" : "b" }));
    const topology = new DeviceTopology(devices);
    expect(topology.link(uuid(0), uuid(1))?.fabric).toBe(true);
    expect(topology.link(uuid(0), uuid(2))).toBeUndefined();
  });
});

describe("a choice in words", () => {
  const granted = (indices: number[], units = WHOLE) =>
    indices.map((index) => ({ uuid: uuid(index), index, resource: "GPU", units }));

  test.each([
    ["mesh", [0, 1, 2, 3], WHOLE, "4 × GPU 0-3: NV18 mesh, NUMA 0"],
    ["mesh", [0, 1, 2, 6], WHOLE, "4 × GPU 0-2,6: NV18 mesh, NUMA 0-1"],
    ["pairs", [2, 3], WHOLE, "2 × GPU 2-3: NV18, NUMA 0"],
    ["pairs", [2, 3, 4], WHOLE, "3 × GPU 2-4: NV18 to SYS, NUMA 0-1"],
    ["pairs", [5], WHOLE, "GPU 5: NUMA 1"],
    ["pairs", [5], 9_000, "0.9 of GPU 5: NUMA 1"],
    ["pairs", [], WHOLE, ""],
  ] as const)("%s %j of %d", (shape, indices, units, text) => {
    expect(showDevices(granted([...indices], units), eightGpus(shape).topology)).toBe(text);
  });

  test("what is not known is said for links, and left out for NUMA nodes", () => {
    const topology = new DeviceTopology([0, 1].map((index) => ({ uuid: uuid(index), index })));
    expect(showDevices(granted([0, 1]), topology)).toBe("2 × GPU 0-1: links not known");
    expect(showDevices(granted([1]), topology)).toBe("GPU 1");
  });
});
