import { sum } from "./pytest.ts";
import { type Outcome, type Stage, showEnd, type ToolEnd } from "./stage.ts";

/** The promise: what `npm run demo` takes at most on 2 cores, after installation. An idle one takes a tenth of that. */
export const DEMO_SECONDS = 90;
/** A run that takes twice the promise counts as hung. */
const DEADLINE_MS = 2 * DEMO_SECONDS * 1_000;

/** `npm run demo`, and its control: with shuffled rewards nothing is learnt. The demo itself checks figures and leftovers. */
export const demo: Stage = {
  name: "demo",
  async run(bench) {
    const outcomes: Outcome[] = [];
    for (const flags of [[], ["--shuffle-rewards"]]) {
      const args = ["scripts/demo.ts", "--json", ...flags];
      const end = await bench.tool({ file: process.execPath, args, deadlineMs: DEADLINE_MS });
      const { output, ...verdict } = judgeDemo(end);
      outcomes.push({ ...verdict, output: `npm run demo -- ${flags.join(" ")}\n${output}` });
    }
    return sum(outcomes);
  },
};

/** A demo passes when it says so itself, and in time: its last line tells its own seconds. */
export function judgeDemo(end: ToolEnd): Outcome {
  const failed = { passed: 0, failed: 1 };
  if (end.code !== 0) return { ...failed, output: showEnd(end) };
  const [, said] = /"seconds":(\d+(?:\.\d+)?)/.exec(end.output.trimEnd().split("\n").at(-1) ?? "") ?? [];
  if (said === undefined) return { ...failed, output: `${end.output}\nno "seconds" in its last line` };
  const note = `${Math.round(Number(said))} s of ${DEMO_SECONDS}`;
  if (Number(said) > DEMO_SECONDS) {
    return { ...failed, note, output: `${end.output}\nit took ${said} s; promised are ${DEMO_SECONDS} s on 2 cores` };
  }
  return { passed: 1, failed: 0, note, output: end.output };
}
