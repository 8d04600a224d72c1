/** Environment variables of a process: name → value. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** A tool is killed when it has run this long (reliability, device rule 8). */
export const PROBE_LIMIT_MS = 5_000;
/** A tool is killed when it has printed this much. */
export const PROBE_OUTPUT_LIMIT_BYTES = 1_048_576;
/** More of one small file (sysfs, /proc) is not read. */
export const PROBE_FILE_LIMIT_BYTES = 65_536;

/**
 * How a tool ended. `exited` covers every exit code. `missing`: not on the PATH. `timeout`: killed at the time limit.
 * `flooded`: killed at the output limit. `stuck`: an earlier run cannot be killed (D state), so none was started.
 */
export type ProbeEnd = "exited" | "missing" | "timeout" | "flooded" | "aborted" | "stuck" | "failed";

export interface ProbeOutcome {
  readonly end: ProbeEnd;
  /** Only after `exited`, and null when a signal ended the tool. */
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly elapsedMs: number;
  /** One sentence for people. Empty after exit code 0. */
  readonly message: string;
}

export interface DeviceFile {
  readonly name: string;
  readonly kind: "character" | "block" | "directory" | "link" | "file" | "other";
}

/** `entries` is undefined when the folder could not be read; a folder that does not exist is empty. */
export interface Listing {
  readonly entries: readonly DeviceFile[] | undefined;
  readonly message: string;
}

/** Who has files open. */
export interface FileUsers {
  /** Path → pids, ascending; paths that nobody has open are absent. Undefined when it could not be found out. */
  readonly pids: ReadonlyMap<string, readonly number[]> | undefined;
  readonly elapsedMs: number;
  /** Why it could not. */
  readonly message: string;
}

/**
 * How plugins look at the machine: tools, device files, small files. Nothing else reaches them, so that every vendor's
 * machine fits into a test. No method throws or rejects.
 */
export interface Probe {
  /** Name of the machine, part of the identity of devices that have none of their own. */
  readonly machine: string;
  /** The machine exists in a test or for trying out: even the locks of its devices must not meet those of real ones. */
  readonly imagined?: boolean;
  /**
   * Runs a tool, argv only, no shell, in the C locale. It is killed at the time limit, at the output limit and when
   * `signal` aborts; the answer comes then, also when the tool cannot die.
   */
  run(argv: readonly [tool: string, ...args: string[]], signal?: AbortSignal): Promise<ProbeOutcome>;
  /** Lists a folder such as `/dev`. */
  list(folder: string): Promise<Listing>;
  /** Reads a small file, or undefined if it cannot be read. */
  read(path: string): Promise<string | undefined>;
  /**
   * Which processes have one of these files open, as far as this user may see: of other users' processes only root may.
   * @param lookers names of programs that open them only to look, such as the vendor's tool: they are left out.
   */
  users(paths: readonly string[], lookers: readonly string[]): Promise<FileUsers>;
}
