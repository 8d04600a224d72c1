/** One veth pair: what its ends are called and which addresses they have. */
export interface CablePlan {
  /** The end on this machine; at most 15 characters, as Linux allows. */
  readonly hostLink: string;
  readonly nodeLink: string;
  readonly hostAddress: string;
  readonly nodeAddress: string;
}

/** Two networks of four addresses for each node, below 10.213.0.0/16. */
export const NETWORKS = 8_191;
/** One more, for finding out whether it works at all; no cluster gets it. */
export const TRIAL_NETWORK = NETWORKS;
export const CABLE_PREFIX_BITS = 30;

const RANGE = "10.213.";

/** How the links of a cluster's nodes start on this machine. */
export function linkPrefix(clusterId: string): string {
  return `wk${clusterId.slice(-8)}`;
}

/** The cable to the head, and the one to the other raylets and to drivers, of the node that has the network `index`. */
export function cablePlans(index: number, prefix: string): [head: CablePlan, peers: CablePlan] {
  const name = `${prefix}${index.toString(36)}`;
  const cable = (nodeLink: string, mark: string, first: number): CablePlan => ({
    ...{ hostLink: `${name}${mark}`, nodeLink },
    ...{ hostAddress: addressOf(index, first), nodeAddress: addressOf(index, first + 1) },
  });
  return [cable("eth0", "h", 1), cable("eth1", "p", 5)];
}

/** Whether an address of this machine lies in the networks of `index`. */
export function overlaps(index: number, address: string): boolean {
  return Array.from({ length: 8 }, (_, offset) => addressOf(index, offset)).includes(address);
}

function addressOf(index: number, offset: number): string {
  const host = index * 8 + offset;
  return `${RANGE}${host >> 8}.${host & 255}`;
}
