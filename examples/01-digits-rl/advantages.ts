/** Group-relative advantages (GRPO): how much better an answer was than the others to its question. */
export function advantagesOf(rewards: readonly number[], groupSize: number): Float64Array {
  const advantages = new Float64Array(rewards.length);
  for (let start = 0; start < rewards.length; start += groupSize) {
    const group = rewards.slice(start, start + groupSize);
    const mean = average(group);
    const deviation = Math.sqrt(average(group.map((reward) => (reward - mean) ** 2)));
    // A group that all got right, or all wrong, teaches nothing.
    if (deviation > 0) for (const [i, reward] of group.entries()) advantages[start + i] = (reward - mean) / deviation;
  }
  return advantages;
}

export function average(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** A permutation that repeats with its seed, for the control run with shuffled rewards. */
export function shuffled(values: readonly number[], seed: number): number[] {
  const result = [...values];
  let state = seed >>> 0;
  for (let i = result.length - 1; i > 0; i--) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    const j = Math.floor((state / 2 ** 32) * (i + 1));
    [result[i], result[j]] = [result[j] as number, result[i] as number];
  }
  return result;
}
