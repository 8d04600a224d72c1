import { sum } from "./pytest.ts";
import { type Outcome, type Stage, showEnd } from "./stage.ts";

/** The promise is 90 s on 2 cores; a loaded machine gets twice that before the run counts as hung. */
const DEADLINE_MS = 180_000;

/** `npm run demo`, and its control: with shuffled rewards nothing is learnt. The demo itself checks figures and leftovers. */
export const demo: Stage = {
  name: "demo",
  async run(bench) {
    const outcomes: Outcome[] = [];
    for (const flags of [[], ["--shuffle-rewards"]]) {
      const args = ["scripts/demo.ts", "--json", ...flags];
      const end = await bench.tool({ file: process.execPath, args, deadlineMs: DEADLINE_MS });
      const passed = end.code === 0 ? 1 : 0;
      outcomes.push({ passed, failed: 1 - passed, output: `npm run demo -- ${flags.join(" ")}\n${showEnd(end)}` });
    }
    return sum(outcomes);
  },
};
