import { randomBytes } from "node:crypto";
import { dirname, join } from "node:path";
import { buildApp, installApp, installNode, lintPackages } from "../pack/app.ts";
import { PROGRAMS, runProgram } from "../pack/programs.ts";
import { packAll } from "../pack/tarballs.ts";
import { sum } from "./pytest.ts";
import type { Outcome, Stage, Workbench } from "./stage.ts";

/** The oldest supported line; the newest is the one that runs this. */
const OLDEST_NODE = "24.9.0";

/** What a stranger gets: every package packed, installed with npm outside the working tree, and used there on both Nodes. */
export const packed: Stage = {
  name: "packed",
  async run(bench) {
    const folder = join(bench.scratch, "p");
    const app = join(folder, "app");
    const { tarballs, outcome } = await packAll(bench, join(folder, "tarballs"));
    if (outcome.failed > 0) return outcome;
    const installed = await installApp(bench, app, tarballs);
    if (installed.failed > 0) return installed;
    const looked = [outcome, installed, await lintPackages(app, tarballs), ...(await buildApp(bench, app))];
    const oldest = await installNode(bench, join(folder, "node"), OLDEST_NODE);
    // Beside each other: much of each program's time is waiting for processes to start and end.
    const used = await Promise.all(
      [oldest, dirname(process.execPath)].map((bin, index) =>
        usePackages(bench, { bin, app, scratch: join(folder, `${index}`) }),
      ),
    );
    return sum([...looked, ...used.flat()]);
  },
};

async function usePackages(bench: Workbench, bed: { bin: string; app: string; scratch: string }): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for (const program of PROGRAMS) {
    outcomes.push(await runProgram(bench, bed, program, randomBytes(6).toString("hex")));
  }
  return outcomes;
}
