import { stderr } from "node:process";

export type Step = { version: number; reward: number; accuracy: number; kl: number; samplesPerSecond: number };

/** One line a step: rewritten in place on a terminal, plain lines elsewhere. */
export function showStep({ version, reward, accuracy, kl, samplesPerSecond }: Step, steps: number): void {
  const bar = "█".repeat(Math.round(accuracy * 20)).padEnd(20, "░");
  const figures = `reward ${reward.toFixed(3)}  accuracy ${accuracy.toFixed(3)} ${bar}  kl ${kl.toFixed(2)}`;
  const line = `step ${version}/${steps}  ${figures}  ${samplesPerSecond.toFixed(0)} samples/s  weights v${version}`;
  stderr.write(stderr.isTTY ? `\r\x1b[2K${line}${version === steps ? "\n" : ""}` : `${line}\n`);
}

/** The learning curve as a picture: accuracy dark, reward light. */
export function learningCurve(history: readonly Step[]): string {
  const x = (i: number): string => (40 + (560 * i) / Math.max(1, history.length - 1)).toFixed(1);
  const y = (value: number): string => (280 - 240 * value).toFixed(1);
  const line = (of: (step: Step) => number, colour: string): string =>
    `<polyline fill="none" stroke="${colour}" stroke-width="2" points="${history.map((step, i) => `${x(i)},${y(of(step))}`).join(" ")}"/>`;
  const grid = [0, 0.25, 0.5, 0.75, 1].map(
    (tick) => `<path d="M40 ${y(tick)}H600" stroke="#ddd"/><text x="4" y="${y(tick)}">${tick}</text>`,
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" width="640" height="320" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="white"/>${grid.join("")}${line((step) => step.reward, "#8ab4f8")}${line((step) => step.accuracy, "#174ea6")}
<text x="40" y="20">Digits by reinforcement: held-out accuracy (dark) and reward (light), ${history.length - 1} steps</text></svg>\n`;
}
