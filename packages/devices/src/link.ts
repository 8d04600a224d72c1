/**
 * How two devices of one machine reach each other. `CHIP` and `SIO` join parts of one chip (cores of Neuron, dies of Ascend);
 * then fabrics, of one vendor each; the last five are nvidia-smi's words for ways over PCIe, from one bridge to across the
 * sockets.
 */
export type LinkKind =
  | "CHIP"
  | "SIO"
  | "NVLINK"
  | "HCCS"
  | "XGMI"
  | "XELINK"
  | "MXLINK"
  | "MTLINK"
  | "MLULINK"
  | "NEURONLINK"
  | "ICI"
  | "PIX"
  | "PXB"
  | "PHB"
  | "NODE"
  | "SYS";

/** One link, without direction: a pair of devices has at most one. Plain data. */
export interface DeviceLink {
  readonly from: string;
  readonly to: string;
  readonly kind: LinkKind;
  /** Bonded lanes of a fabric (`NV18` has 18); absent where the tool does not count them. */
  readonly lanes?: number;
}

const SCORES: Readonly<Partial<Record<LinkKind, number>>> = {
  ...{ CHIP: 10_000, SIO: 10_000 },
  ...{ PIX: 400, PXB: 300, PHB: 200, NODE: 200, SYS: 100 },
};
/** Every fabric is better than every way over PCIe. */
const FABRIC_SCORE = 1_000;

/**
 * How good a link is, for choosing devices that belong together (reliability, device rule 10): one chip > lanes of a
 * fabric > PIX > PXB > PHB and NODE > SYS > not known, which is 0. Only the order means something.
 */
export function linkScore(link: Pick<DeviceLink, "kind" | "lanes"> | undefined): number {
  if (link === undefined) return 0;
  return SCORES[link.kind] ?? FABRIC_SCORE + (link.lanes ?? 1);
}
