import { WhiprayError } from "@whipray/core";
import { checkKeys } from "../actor-options.ts";

/** How the interpreter of a Python actor is started. All of it exists on the actor's node. */
export interface PythonOptions {
  /** Interpreter. Default: `python3` of the raylet's PATH. */
  python?: string;
  /** Working directory; modules in it can be imported. Default: the raylet's. */
  cwd?: string;
  /** Folders whose modules can be imported, before those of the interpreter. */
  pythonPath?: readonly string[];
  /** Environment of the interpreter, beside the actor's own `env`; PATH, PYTHONPATH and LD_PRELOAD are allowed here. */
  env?: Readonly<Record<string, string>>;
  /** Standard streams are a pseudo-terminal that people can attach to. Default false. */
  pty?: boolean;
  /** Time for the start of the interpreter, milliseconds. Default 60 000. */
  startTimeoutMs?: number;
}

/** What a Python actor's process is told. */
export interface PythonStart extends PythonOptions {
  /** `module:Class` */
  readonly engine: string;
}

const KEYS: ReadonlySet<string> = new Set(["python", "cwd", "pythonPath", "env", "pty", "startTimeoutMs"]);
const NAME = String.raw`[A-Za-z_]\w*`;
const CLASS_PATH = new RegExp(`^${NAME}(\\.${NAME})*:${NAME}(\\.${NAME})*$`);
/** Marks keyword arguments, the last of a call. */
const KWARGS = "$kwargs";

/** `module:Class`, as opposed to a module's URL. */
export function isPythonClass(module: URL | string): module is string {
  return typeof module === "string" && CLASS_PATH.test(module);
}

/** @throws WhiprayError `INVALID_ARGUMENT`. */
export function pythonStart(engine: string, options: PythonOptions): PythonStart {
  checkKeys(options, KEYS, "a Python actor's interpreter");
  if (!isPythonClass(engine))
    throw new WhiprayError({
      code: "INVALID_ARGUMENT",
      message: `A Python class is written "package.module:Class"; got ${JSON.stringify(String(engine).slice(0, 128))}`,
    });
  return { engine, ...options };
}

/** Keyword arguments of a Python actor's method or constructor: the last argument, `await actor.train(batch, kwargs({ lr: 0.1 }))`. */
export function kwargs(values: Readonly<Record<string, unknown>>): object {
  return { [KWARGS]: values };
}

/** Arguments of a call as Python takes them. */
export function pythonArguments(given: readonly unknown[]): { args: readonly unknown[]; kwargs?: unknown } {
  const last = given.at(-1);
  const named = typeof last === "object" && last !== null && Object.hasOwn(last, KWARGS);
  if (!named || Object.keys(last).length !== 1) return { args: given };
  return { args: given.slice(0, -1), kwargs: (last as { [KWARGS]: unknown })[KWARGS] };
}
