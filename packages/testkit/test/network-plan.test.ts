import fc from "fast-check";
import { expect, test } from "vitest";
import { cablePlans, linkPrefix, NETWORKS, overlaps, TRIAL_NETWORK } from "../src/network-plan.ts";

const index = fc.integer({ min: 0, max: TRIAL_NETWORK });

test("no two networks share an address or a link, and the last one is inside of the range", () => {
  const addresses = (network: number): string[] =>
    cablePlans(network, "x").flatMap(({ hostAddress, nodeAddress, hostLink }) => [hostAddress, nodeAddress, hostLink]);
  const check = (a: number, b: number): void => {
    expect(new Set([...addresses(a), ...addresses(b)]).size).toBe(a === b ? 6 : 12);
    for (const address of addresses(a)) expect(overlaps(b, address)).toBe(a === b && address.startsWith("10."));
  };
  fc.assert(fc.property(index, index, check));
  expect(cablePlans(NETWORKS, "x").map(({ nodeAddress }) => nodeAddress)).toEqual(["10.213.255.250", "10.213.255.254"]);
});

test("the names of links are no longer than Linux allows", () => {
  const prefix = linkPrefix("cluster_p6swcolj0vdykv5f");
  const names = (network: number): string[] => cablePlans(network, prefix).map(({ hostLink }) => hostLink);
  fc.assert(fc.property(index, (network) => names(network).every((name) => name.length <= 15)));
});
