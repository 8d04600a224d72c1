import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { sum } from "./pytest.ts";
import { type Outcome, type Stage, showEnd } from "./stage.ts";

/** An example that `npm test` runs. */
export interface Example {
  name: string;
  /** Its `"ci"` script. */
  command: string;
  deadlineMs: number;
}

/** An example's package.json may ask for another one: `"ciDeadlineSeconds": 180`. */
const DEADLINE_MS = 120_000;

/** Runs each example as a user would, from its own folder. */
export const examples: Stage = {
  name: "examples",
  async run(bench) {
    const found = findExamples(join(bench.root, "examples"));
    if (found.length === 0)
      return { passed: 0, failed: 0, output: "", note: "skipped: no example has a ci script yet" };
    const outcomes: Outcome[] = [];
    for (const { name, command, deadlineMs } of found) {
      const cwd = join(bench.root, "examples", name);
      const end = await bench.tool({ file: "sh", args: ["-c", command], cwd, deadlineMs });
      const passed = end.code === 0 ? 1 : 0;
      outcomes.push({ passed, failed: 1 - passed, output: `examples/${name} $ ${command}\n${showEnd(end)}` });
    }
    return sum(outcomes);
  },
};

/** Folders of `examples/` whose package.json has a `ci` script, in their order. */
export function findExamples(folder: string): Example[] {
  const names = existsSync(folder) ? readdirSync(folder).sort() : [];
  return names.flatMap((name) => {
    const path = join(folder, name, "package.json");
    if (!existsSync(path)) return [];
    const manifest = JSON.parse(readFileSync(path, "utf8")) as {
      scripts?: { ci?: string };
      ciDeadlineSeconds?: number;
    };
    const command = manifest.scripts?.ci;
    const deadlineMs = manifest.ciDeadlineSeconds === undefined ? DEADLINE_MS : manifest.ciDeadlineSeconds * 1000;
    return command === undefined ? [] : [{ name, command, deadlineMs }];
  });
}
