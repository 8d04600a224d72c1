import { createHash } from "node:crypto";
import { WhiprayError } from "@whipray/core";
import type { RuntimeEnvSpec } from "@whipray/rpc";
import { withoutOwn } from "./engine-environment.ts";
import type { Logs } from "./logs.ts";
import type { Processes } from "./processes.ts";
import { NODE_MARK, RAYLET_MARK } from "./runtime-directory.ts";

/** Virtual environments that a node keeps although nothing runs in them. */
export const IDLE_VENVS_LIMIT = 8;
/** setpriv and `sh` say so when there is no such program. */
const EXIT_NO_PROGRAM = 127;

export interface VenvAsk {
  readonly packages: NonNullable<RuntimeEnvSpec["packages"]>;
  /** Interpreter that it is made of. */
  readonly python: string;
}

/** Where they are made. */
export interface VenvFolders {
  /** A folder that only this user can enter. */
  root(): Promise<string>;
  /** Unknown ones are fine. */
  remove(name: string): Promise<void>;
}

export interface VenvsOptions {
  readonly nodeId: string;
  /** Incarnation of this raylet: what it started is found by it. */
  readonly raylet: string;
  readonly folders: VenvFolders;
  readonly processes: Processes;
  readonly logs: Logs;
  /** The raylet's own environment. */
  readonly env: Readonly<Record<string, string>>;
}

/** Name of the environment of these requirements: the same in any order. */
export function venvName({ packages, python }: VenvAsk): string {
  const asked = JSON.stringify([packages.tool, python, packages.list.toSorted()]);
  return createHash("sha256").update(asked).digest("hex");
}

/** The commands that make it, in their order. Pure. */
export function venvCommands({ packages, python }: VenvAsk, folder: string): string[][] {
  const { tool, list } = packages;
  const own = `${folder}/bin/python`;
  // After `--` nothing is an option, whatever it looks like.
  if (tool === "uv") {
    return [
      ["uv", "venv", "--system-site-packages", "--python", python, folder],
      ["uv", "pip", "install", "--python", own, "--", ...list],
    ];
  }
  return [
    [python, "-m", "venv", "--system-site-packages", folder],
    [own, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--", ...list],
  ];
}

const OFFLINE =
  /name resolution|Name or service not known|nodename nor servname|Network is unreachable|No route to host|Connection refused|Failed to establish a new connection|ConnectTimeout|dns error|error sending request/i;
const NO_TOOL = /No module named (?:pip|venv|ensurepip)\b|ensurepip is not available/;

const hint = ([tool]: readonly string[]): string =>
  tool === "uv" ? ": install uv there, or name the requirements as `pip`" : "";

/** What the end of a command that failed means. Pure. */
export function installFailure(command: readonly string[], exit: string, code: number | null, tail: readonly string[]) {
  const text = tail.join("\n");
  const shown = command.slice(0, 4).join(" ");
  if (code === EXIT_NO_PROGRAM)
    return { code: "TOOL_MISSING", message: `${command[0]} is not in the PATH of this node${hint(command)}` };
  if (NO_TOOL.test(text))
    return { code: "TOOL_MISSING", message: `${command[0]} has no venv or pip on this node: ${exit}` };
  if (OFFLINE.test(text))
    return { code: "INDEX_UNREACHABLE", message: `${shown} cannot reach its package index: ${exit}` };
  return { code: "INSTALL_FAILED", message: `${shown} ended with ${exit}` };
}

/** Makes virtual environments for engines (Ray: pip and uv of a runtime_env). */
export class Venvs {
  readonly #options: VenvsOptions;

  constructor(options: VenvsOptions) {
    this.#options = options;
  }

  /**
   * Settles with its interpreter; an abort kills what makes it.
   * @throws WhiprayError `TOOL_MISSING`, `INDEX_UNREACHABLE`, `INSTALL_FAILED` with the last lines of the tool and its log.
   */
  async make(ask: VenvAsk, signal: AbortSignal): Promise<string> {
    const { folders } = this.#options;
    const name = venvName(ask);
    const folder = `${await folders.root()}/${name}`;
    try {
      for (const command of venvCommands(ask, folder)) await this.#run(name, command, signal);
    } catch (error) {
      await folders.remove(name);
      throw error;
    }
    return `${folder}/bin/python`;
  }

  remove(name: string): Promise<void> {
    return this.#options.folders.remove(name);
  }

  async #run(name: string, command: readonly string[], signal: AbortSignal): Promise<void> {
    const { processes, logs, env, nodeId, raylet, folders } = this.#options;
    signal.throwIfAborted();
    const log = logs.open(`venv-${name.slice(0, 12)}`);
    try {
      const marks = { [NODE_MARK]: nodeId, [RAYLET_MARK]: raylet };
      const child = await processes
        .spawn({
          command: command[0]!,
          args: command.slice(1),
          env: { ...withoutOwn(env), ...marks },
          cwd: await folders.root(),
          log,
        })
        .catch((cause: unknown) => {
          const message = `${command[0]} could not be started on this node${hint(command)}`;
          throw new WhiprayError({ code: "TOOL_MISSING", message, cause });
        });
      const kill = (): void => void child.kill("SIGKILL");
      signal.addEventListener("abort", kill, { once: true });
      if (signal.aborted) kill();
      const { code, signal: killedBy } = await child.exited.finally(() => signal.removeEventListener("abort", kill));
      signal.throwIfAborted();
      if (code === 0) return;
      const tail = log.errorTail();
      const failure = installFailure(command, killedBy ? `signal ${killedBy}` : `exit code ${code}`, code, tail);
      const message = `${failure.message}\nlast lines:\n${tail.slice(-20).join("\n")}`;
      throw new WhiprayError({
        code: failure.code,
        message,
        where: { node: nodeId, logPath: log.path, stderrTail: tail },
      });
    } finally {
      await log.close();
    }
  }
}
