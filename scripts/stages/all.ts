import { demo } from "./demo.ts";
import { examples } from "./examples.ts";
import { packed } from "./packed.ts";
import { pytest } from "./pytest.ts";
import { type Stage, toolStage } from "./stage.ts";
import { stranger } from "./stranger.ts";
import { vitest } from "./vitest.ts";

const MINUTE_MS = 60_000;

/** Every stage of `npm test`, cheap ones first. */
export const STAGES: Stage[] = [
  toolStage("format", "biome", ["check", "--error-on-warnings", "--max-diagnostics=200"], 2 * MINUTE_MS),
  toolStage("tidy", process.execPath, ["scripts/check.ts"], 2 * MINUTE_MS),
  toolStage("types", "tsc", ["-b"], 10 * MINUTE_MS),
  toolStage("test-types", "tsc", ["-p", "tsconfig.test.json"], 10 * MINUTE_MS),
  toolStage("lint", "oxlint", ["--type-aware", "--deny-warnings"], 5 * MINUTE_MS),
  toolStage("knip", "knip", ["--no-progress", "--no-config-hints"], 5 * MINUTE_MS),
  vitest,
  pytest,
  examples,
  demo,
  packed,
  stranger,
];
