import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { WhiprayError } from "@whipray/core";
import {
  isRequirement,
  PY_MODULES_LIMIT,
  PY_PACKAGES_LIMIT,
  type RuntimeEnvSpec,
  SETUP_TIMEOUT_MS,
} from "@whipray/rpc";
import { packRules } from "./pack-rules.ts";

/** What a worker needs around it, made on its node before it starts (Ray: `runtime_env`). */
export interface RuntimeEnv {
  /** Variables of the process; the option `env` wins. The node refuses bad names and those of Whipray (`INVALID_ENV`). */
  envVars?: Readonly<Record<string, string>>;
  /**
   * A directory of this machine that becomes the working directory: a copy of it, on each node. Modules of actors and tasks that lie below it
   * are loaded from the copy where the node has not the same ones. Packed once a program, with its first use.
   */
  workingDir?: string | URL;
  /** What stays out of `workingDir` and `pyModules`: `*.log`, `data`, `/build/tmp`. `.git`, `node_modules` and Python's leavings always do. */
  excludes?: readonly string[];
  /** Python packages (directories) and modules (.py files) that engines find first when they import. */
  pyModules?: readonly (string | URL)[];
  /** Interpreter of engines: a path on the node, or a name in its PATH (Ray: py_executable). */
  pyExecutable?: string;
  /** Requirements (`numpy==2.3.1`) that engines find in a virtual environment of their own, made with pip. */
  pip?: readonly string[];
  /** The same, made with uv. Only one of both. */
  uv?: readonly string[];
  /** How long a node may take to make all of it, milliseconds. Default 600 000 (Ray). */
  setupTimeoutMs?: number;
}

const KEYS: ReadonlySet<string> = new Set([
  "envVars",
  "workingDir",
  "excludes",
  "pyModules",
  "pyExecutable",
  "pip",
  "uv",
  "setupTimeoutMs",
]);

/** A checked one: plain data, with absolute paths. Variables are apart: they travel as the environment of the process. */
export interface CheckedRuntimeEnv {
  readonly workingDir?: string;
  readonly pyModules: readonly string[];
  readonly excludes: readonly string[];
  readonly python?: string;
  readonly packages?: RuntimeEnvSpec["packages"];
  readonly setupTimeoutMs: number;
}

/**
 * What a node has to make; undefined when that is nothing. @throws WhiprayError `INVALID_ARGUMENT` for an unknown key, a value of a wrong
 * kind, pip and uv at once; `INVALID_PATH`.
 */
export function checkRuntimeEnv(env: RuntimeEnv | undefined): CheckedRuntimeEnv | undefined {
  if (env === undefined) return undefined;
  if (typeof env !== "object" || env === null) throw invalid("runtimeEnv must be a map");
  for (const key of Object.keys(env)) {
    if (!KEYS.has(key))
      throw invalid(`${key.slice(0, 64)} is no part of a runtimeEnv; valid are ${[...KEYS].join(", ")}`);
  }
  checkVariables(env.envVars ?? {});
  const { workingDir, excludes = [], pyModules = [], pyExecutable, setupTimeoutMs = SETUP_TIMEOUT_MS } = env;
  packRules(excludes);
  if (!Number.isSafeInteger(setupTimeoutMs) || setupTimeoutMs < 1) {
    throw invalid(`setupTimeoutMs must be a whole number of 1 or more; got ${setupTimeoutMs}`);
  }
  if (!Array.isArray(pyModules) || pyModules.length > PY_MODULES_LIMIT) {
    throw invalid(`pyModules must be a list of at most ${PY_MODULES_LIMIT} paths`);
  }
  if (pyExecutable !== undefined && (typeof pyExecutable !== "string" || pyExecutable === "")) {
    throw invalid("pyExecutable must be text: a path on the node, or a name in its PATH");
  }
  const packages = checkPackages(env);
  if (workingDir === undefined && pyModules.length === 0 && pyExecutable === undefined && !packages) return undefined;
  return {
    ...(workingDir !== undefined && { workingDir: localPath("workingDir", workingDir) }),
    pyModules: pyModules.map((module) => localPath("pyModules", module)),
    excludes: [...excludes],
    ...(pyExecutable !== undefined && { python: pyExecutable }),
    ...(packages && { packages }),
    setupTimeoutMs,
  };
}

/** One inside of another: what it says itself wins, part by part; variables are merged, pip and uv are one part (Ray). Pure. */
export function mergedEnv(around: RuntimeEnv, own: RuntimeEnv | undefined): RuntimeEnv {
  if (own === undefined) return around;
  if (typeof own !== "object" || own === null) return own; // refused where it is checked
  const { pip: _, uv: __, ...others } = around;
  const base = own.pip === undefined && own.uv === undefined ? around : others;
  return { ...base, ...own, envVars: { ...around.envVars, ...own.envVars } };
}

function checkVariables(envVars: unknown): void {
  if (typeof envVars !== "object" || envVars === null || Array.isArray(envVars)) {
    throw invalid("envVars must be a map of names to texts");
  }
  for (const [name, value] of Object.entries(envVars)) {
    if (typeof value !== "string") throw invalid(`envVars.${name.slice(0, 80)} must be text; got ${typeof value}`);
  }
}

function checkPackages({ pip, uv }: RuntimeEnv): RuntimeEnvSpec["packages"] {
  if (pip !== undefined && uv !== undefined) throw invalid("runtimeEnv may have pip or uv, not both (Ray too)");
  const list = pip ?? uv;
  if (list === undefined) return undefined;
  const tool = pip === undefined ? "uv" : "pip";
  if (!Array.isArray(list) || list.length === 0 || list.length > PY_PACKAGES_LIMIT) {
    throw invalid(`${tool} must be a list of 1 to ${PY_PACKAGES_LIMIT} requirements`);
  }
  for (const requirement of list as readonly unknown[]) {
    if (!isRequirement(requirement)) {
      throw invalid(
        `${tool}: ${JSON.stringify(String(requirement).slice(0, 80))} is no requirement such as numpy==2.3.1`,
      );
    }
  }
  return { tool, list: [...list] };
}

function localPath(what: string, path: string | URL): string {
  if (path instanceof URL || /^file:/.test(String(path))) return fileURLToPath(path);
  if (typeof path === "string" && path !== "" && !path.includes("\0")) return resolve(path);
  throw new WhiprayError({
    code: "INVALID_PATH",
    message: `${what} must be a path or a file: URL; got ${JSON.stringify(String(path).slice(0, 200))}`,
  });
}

function invalid(message: string): WhiprayError {
  return new WhiprayError({ code: "INVALID_ARGUMENT", message });
}
