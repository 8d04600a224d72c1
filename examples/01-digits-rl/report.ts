import { stderr } from "node:process";

export interface Step {
  version: number;
  reward: number;
  accuracy: number;
  kl: number;
  samplesPerSecond: number;
}

/** One line a step: rewritten in place on a terminal, plain lines elsewhere. */
export function showStep({ version, reward, accuracy, kl, samplesPerSecond }: Step, steps: number): void {
  const bar = "█".repeat(Math.round(accuracy * 20)).padEnd(20, "░");
  const line = `step ${String(version).padStart(2)}/${steps}  reward ${reward.toFixed(3)}  accuracy ${accuracy.toFixed(3)} ${bar}  kl ${kl.toFixed(2)}  ${samplesPerSecond.toFixed(0)} samples/s  weights v${version}`;
  stderr.write(stderr.isTTY ? `\r\x1b[2K${line}${version === steps ? "\n" : ""}` : `${line}\n`);
}

/** The learning curve as a picture: accuracy dark, reward light. */
export function learningCurve(history: readonly Step[]): string {
  const [width, height, edge] = [640, 320, 40];
  const x = (i: number): number => edge + (i * (width - 2 * edge)) / Math.max(1, history.length - 1);
  const y = (value: number): number => height - edge - value * (height - 2 * edge);
  const line = (values: number[], colour: string): string =>
    `<polyline fill="none" stroke="${colour}" stroke-width="2" points="${values.map((value, i) => `${x(i).toFixed(1)},${y(value).toFixed(1)}`).join(" ")}"/>`;
  const ticks = [0, 0.25, 0.5, 0.75, 1].map(
    (tick) =>
      `<line x1="${edge}" x2="${width - edge}" y1="${y(tick)}" y2="${y(tick)}" stroke="#ddd"/><text x="4" y="${y(tick) + 4}">${tick}</text>`,
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="white"/>${ticks.join("")}
${line(
  history.map((step) => step.reward),
  "#8ab4f8",
)}${line(
  history.map((step) => step.accuracy),
  "#174ea6",
)}
<text x="${edge}" y="20">Digits by reinforcement: held-out accuracy (dark) and reward (light) over ${history.length - 1} steps</text></svg>\n`;
}
