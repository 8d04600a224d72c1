import { sibling, WhiprayError } from "@whipray/core";
import type { ActorOptions } from "../actor-options.ts";
import type { PythonActor } from "./python-actor.ts";
import { type PythonOptions, pythonStart } from "./python-options.ts";

/** Where an actor's class comes from. */
export interface ActorSource {
  readonly url: URL;
  readonly exportName: string;
  /** As rows and errors show it. */
  readonly className: string;
  /** The constructor's arguments as the class takes them. */
  wrap(args: unknown[]): unknown[];
  /** @throws WhiprayError `INVALID_ARGUMENT` for options that it cannot have. */
  check?(options: ActorOptions): void;
}

const MODULE = sibling("python-actor", import.meta.url);
const EXPORT: (new (...args: never[]) => PythonActor)["name"] = "PythonActor";

/** A Python class: its actor is ours, in front of an interpreter. */
export function pythonSource(className: string, options: PythonOptions): ActorSource {
  const start = pythonStart(className, options);
  return { url: MODULE, exportName: EXPORT, className, wrap: (args) => [start, args], check: checkPython };
}

function checkPython({ concurrencyGroups }: ActorOptions): void {
  if (!concurrencyGroups) return;
  throw new WhiprayError({
    code: "INVALID_ARGUMENT",
    message:
      "A Python actor has no concurrencyGroups; maxConcurrency says how many calls of all its methods run at the same time",
  });
}
