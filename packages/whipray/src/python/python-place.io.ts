import { delimiter } from "node:path";
import { randomIds, systemClock } from "@whipray/core";
import { type EngineLauncher, EngineProcess } from "@whipray/engine";
import { requireActorContext } from "@whipray/worker";
import type { PythonPlace } from "./python-actor.ts";

const PYTHONPATH = "PYTHONPATH";

/** The process that hosts a Python actor. @throws WhiprayError `NOT_IN_ACTOR`. */
export function pythonPlace(): PythonPlace {
  const context = requireActorContext();
  const { spec } = context;
  const launcher: EngineLauncher = { ...context, clock: systemClock, ids: randomIds() };
  return {
    className: spec.className,
    graceMs: spec.graceMs,
    maxConcurrency: spec.maxConcurrency,
    launch: ({ python, cwd, pythonPath = [], env = {}, pty, startTimeoutMs }) => {
      const folders = [...pythonPath, ...(env[PYTHONPATH]?.split(delimiter) ?? [])];
      return EngineProcess.launch(launcher, {
        ...{ python, cwd, pty, startTimeoutMs, isolation: spec.isolation, graceMs: spec.graceMs },
        env: { ...spec.env, ...env, ...(folders.length > 0 && { [PYTHONPATH]: folders.join(delimiter) }) },
        logName: spec.name ?? spec.className.replace(":", "."),
      });
    },
    end: (code, text) => {
      // The raylet puts the last lines of stderr into the actor's cause of death.
      process.stderr.write(`${text}\n`);
      process.exit(code);
    },
  };
}
