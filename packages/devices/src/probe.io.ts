import { type ChildProcess, spawn } from "node:child_process";
import { constants, type Dirent } from "node:fs";
import { access, open, readdir, stat } from "node:fs/promises";
import { hostname } from "node:os";
import { isAbsolute, join } from "node:path";
import { type Clock, systemClock } from "@whipray/core";
import { fileUsers } from "./file-users.io.ts";
import {
  type DeviceFile,
  type Environment,
  type FileUsers,
  type Listing,
  PROBE_FILE_LIMIT_BYTES,
  PROBE_LIMIT_MS,
  PROBE_OUTPUT_LIMIT_BYTES,
  type Probe,
  type ProbeEnd,
  type ProbeOutcome,
} from "./probe.ts";
import { quote } from "./warning-list.ts";

/** How long a killed tool may take to die before it counts as stuck. */
export const PROBE_KILL_GRACE_MS = 500;
/** How long output may trickle in after the tool itself has ended, when a child of it holds the pipes open. */
const PIPE_GRACE_MS = 500;
const STDERR_LIMIT_BYTES = 65_536;

export interface SystemProbeOptions {
  /** Default: the host's name. */
  readonly machine?: string;
  /** Folder that stands for `/` in `list` and `read`. Default `/`. */
  readonly root?: string;
  /** What tools inherit (npu-smi needs LD_LIBRARY_PATH); its PATH is searched. Default: this process's environment. */
  readonly environment?: Environment;
  /** Default 5 000 ms. */
  readonly limitMs?: number;
  /** Default 1 MiB. */
  readonly outputLimitBytes?: number;
  readonly clock?: Clock;
  /** How a tool and its children are killed. A test puts a kill that does nothing here: a process in D state. */
  readonly kill?: (tool: ChildProcess) => void;
}

/** The real machine. A tool is looked up on the PATH once in the life of the probe. */
export function systemProbe(options: SystemProbeOptions = {}): Probe {
  return new SystemProbe(options);
}

class SystemProbe implements Probe {
  readonly machine: string;
  readonly #root: string;
  readonly #environment: Environment;
  readonly #limitMs: number;
  readonly #outputLimitBytes: number;
  readonly #clock: Clock;
  readonly #kill: (tool: ChildProcess) => void;
  readonly #paths = new Map<string, Promise<string | undefined>>();
  /** Tools with a run that could not be killed: another would only add to the pile. */
  readonly #stuck = new Map<string, ChildProcess>();

  constructor(options: SystemProbeOptions) {
    this.machine = options.machine ?? hostname();
    this.#root = options.root ?? "/";
    this.#environment = options.environment ?? process.env;
    this.#limitMs = options.limitMs ?? PROBE_LIMIT_MS;
    this.#outputLimitBytes = options.outputLimitBytes ?? PROBE_OUTPUT_LIMIT_BYTES;
    this.#clock = options.clock ?? systemClock;
    this.#kill = options.kill ?? killGroup;
  }

  async run(argv: readonly [tool: string, ...args: string[]], signal?: AbortSignal): Promise<ProbeOutcome> {
    const [tool, ...args] = argv;
    const idle = (end: ProbeEnd, message: string): ProbeOutcome => {
      return { end, exitCode: null, stdout: "", stderr: "", elapsedMs: 0, message };
    };
    const lookup = this.#paths.get(tool) ?? findTool(tool, this.#environment["PATH"] ?? "");
    this.#paths.set(tool, lookup);
    const path = await lookup;
    if (path === undefined) return idle("missing", `${tool} is not on the PATH`);
    if (signal?.aborted) return idle("aborted", `${tool} was not run: aborted`);
    const stuck = this.#stuck.get(path);
    if (stuck) return idle("stuck", `${tool} (pid ${stuck.pid}) was killed but does not die; it is not run again`);
    try {
      return await this.#runTool(path, args, signal);
    } catch (error) {
      // spawn throws at once for an argument with NUL and for a list that is too long for the kernel.
      return idle("failed", `${path} could not be run: ${(error as Error).message}`);
    }
  }

  #runTool(path: string, args: readonly string[], signal: AbortSignal | undefined): Promise<ProbeOutcome> {
    const startedMs = this.#clock.now();
    const stdout = new CappedText(this.#outputLimitBytes);
    const stderr = new CappedText(STDERR_LIMIT_BYTES);
    return new Promise((resolve) => {
      let verdict: ProbeEnd | undefined;
      let message = "";
      let ended: { exitCode: number | null; signal: string | null } | undefined;
      const settle = (end: ProbeEnd): void => {
        limit.cancel();
        signal?.removeEventListener("abort", onAbort);
        resolve({
          end,
          exitCode: end === "exited" ? (ended?.exitCode ?? null) : null,
          stdout: stdout.text(),
          stderr: stderr.text(),
          elapsedMs: this.#clock.now() - startedMs,
          message: end === "exited" && ended?.exitCode === 0 ? "" : message || endMessage(path, ended, stdout, stderr),
        });
      };
      const kill = (end: ProbeEnd, why: string): void => {
        if (verdict || ended) return;
        verdict = end;
        message = `${path} ${why}`;
        this.#kill(child);
        this.#clock.after(PROBE_KILL_GRACE_MS, () => {
          if (ended) return;
          this.#stuck.set(path, child);
          letGo(child);
          settle(end);
        });
      };
      const onAbort = (): void => kill("aborted", "was killed: aborted");
      const child = this.#spawn(path, args);
      const limit = this.#clock.after(this.#limitMs, () => kill("timeout", `was killed after ${this.#limitMs} ms`));
      signal?.addEventListener("abort", onAbort, { once: true });
      child.on("error", (error) => {
        message = `${path} could not be run: ${error.message}`;
        if (child.pid === undefined) settle("failed");
      });
      child.stdout?.on("data", (chunk: Buffer) => {
        if (!stdout.add(chunk)) kill("flooded", `was killed after ${this.#outputLimitBytes} bytes of output`);
      });
      child.stderr?.on("data", (chunk: Buffer) => void stderr.add(chunk));
      child.on("exit", (exitCode, by) => {
        ended = { exitCode, signal: by };
        this.#stuck.delete(path);
        // The group still has the member that holds the pipes, so its number is not another's by now.
        const release = (): void => {
          this.#kill(child);
          letGo(child);
          settle(verdict ?? "exited");
        };
        const pipes = this.#clock.after(PIPE_GRACE_MS, release, { keepAlive: true });
        child.once("close", () => pipes.cancel());
      });
      child.on("close", () => settle(verdict ?? "exited"));
    });
  }

  /** Own session, so that the kill reaches the children of a wrapper script too. Our own variables (tokens) stay here. */
  #spawn(path: string, args: readonly string[]): ChildProcess {
    const inherited = Object.entries(this.#environment).filter(([name]) => !name.startsWith("WHIPRAY_"));
    const env = { ...Object.fromEntries(inherited), LC_ALL: "C", LANG: "C", LANGUAGE: "C" };
    return spawn(path, args, { cwd: "/", env, stdio: ["ignore", "pipe", "pipe"], detached: true });
  }

  async list(folder: string): Promise<Listing> {
    try {
      const entries = await readdir(join(this.#root, folder), { withFileTypes: true });
      return { entries: entries.map((entry) => ({ name: entry.name, kind: kindOf(entry) })), message: "" };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return { entries: [], message: "" };
      return { entries: undefined, message: `${folder} cannot be read: ${(error as Error).message}` };
    }
  }

  async read(path: string): Promise<string | undefined> {
    try {
      await using file = await open(join(this.#root, path), constants.O_RDONLY | constants.O_NONBLOCK);
      const { bytesRead, buffer } = await file.read(Buffer.alloc(PROBE_FILE_LIMIT_BYTES), 0, PROBE_FILE_LIMIT_BYTES, 0);
      return buffer.toString("utf8", 0, bytesRead);
    } catch {
      return undefined;
    }
  }

  users(paths: readonly string[], lookers: readonly string[]): Promise<FileUsers> {
    return fileUsers(paths, { lookers, root: this.#root, clock: this.#clock, limitMs: this.#limitMs });
  }
}

/** Output up to a limit; what comes after is dropped. */
class CappedText {
  readonly #limitBytes: number;
  readonly #chunks: Buffer[] = [];
  #bytes = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  /** False when the limit is passed. */
  add(chunk: Buffer): boolean {
    const room = this.#limitBytes - this.#bytes;
    if (room > 0) this.#chunks.push(chunk.subarray(0, room));
    this.#bytes += chunk.length;
    return this.#bytes <= this.#limitBytes;
  }

  text(): string {
    return Buffer.concat(this.#chunks).toString("utf8");
  }
}

function endMessage(
  path: string,
  ended: { exitCode: number | null; signal: string | null } | undefined,
  stdout: CappedText,
  stderr: CappedText,
): string {
  const words = quote((stderr.text().trim() || stdout.text().trim()).split("\n")[0]!);
  const how = ended?.signal ? `was ended by ${ended.signal}` : `ended with exit code ${ended?.exitCode}`;
  return `${path} ${how} and said ${words}`;
}

/** Without this, our process could not end while a tool hangs in the kernel. */
function letGo(child: ChildProcess): void {
  child.stdout?.destroy();
  child.stderr?.destroy();
  child.unref();
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, "SIGKILL");
  } catch (error) {
    // ESRCH: everything in the group is gone, which is what was wanted.
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") child.kill("SIGKILL");
  }
}

/** Relative folders in PATH are skipped: what lies in the current folder is never a vendor's tool. */
async function findTool(tool: string, path: string): Promise<string | undefined> {
  if (isAbsolute(tool)) return (await isExecutable(tool)) ? tool : undefined;
  if (tool.includes("/")) return undefined;
  for (const folder of path.split(":").filter(isAbsolute)) {
    const candidate = join(folder, tool);
    if (await isExecutable(candidate)) return candidate;
  }
  return undefined;
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}

function kindOf(entry: Dirent): DeviceFile["kind"] {
  if (entry.isCharacterDevice()) return "character";
  if (entry.isBlockDevice()) return "block";
  if (entry.isDirectory()) return "directory";
  if (entry.isSymbolicLink()) return "link";
  return entry.isFile() ? "file" : "other";
}
