import { currentCluster, currentPlacementGroup } from "whipray";

/** One process of a distributed job. */
export class Rank {
  async describe(): Promise<string> {
    const group = await currentPlacementGroup();
    return `GPU ${process.env["CUDA_VISIBLE_DEVICES"]} in ${group ? "a group" : "no group"}`;
  }
  /** What it makes is in its group too, when it captures its children. */
  async child(): Promise<string> {
    using made = await currentCluster()!
      .actor<Rank>(new URL(import.meta.url), "Rank")
      .options({ numCpus: 1 })
      .create();
    return await made.describe();
  }
}
