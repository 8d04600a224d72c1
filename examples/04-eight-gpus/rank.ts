/** A process of a training or rollout role. What it may use of the machine's GPUs, its environment says. */
export class Rank {
  sees(): string {
    const { CUDA_VISIBLE_DEVICES = "unset" } = process.env;
    return `pid ${process.pid}  CUDA_VISIBLE_DEVICES="${CUDA_VISIBLE_DEVICES}"`;
  }
}
