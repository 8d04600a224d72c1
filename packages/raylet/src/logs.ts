/** Lines of a process' output that are kept in memory for errors. */
export const TAIL_LINES = 100;
/** Characters of one line in an error. */
export const TAIL_LINE_LIMIT = 4_096;
/** Bytes of each stream that are kept for the tail while its process lives. */
export const TAIL_BYTES = 65_536;
/** Output that waits for the disk; above it the source is paused, so that a flood costs no memory (reliability F28, P18). */
export const LOG_PENDING_LIMIT_BYTES = 1_048_576;
/** A log is rotated at this size. */
export const LOG_FILE_LIMIT_BYTES = 67_108_864;
/** Files of one log, the current one included. */
export const LOG_FILES_LIMIT = 5;

export type OutputStream = "out" | "err";

/** The log of one process: both streams in one file, whole lines, in the order of their arrival. */
export interface LogWriter {
  readonly path: string;
  /** Bytes that could not be written (disk full). A line in the log tells of them once writing works again. */
  readonly lostBytes: number;
  /** False: too much waits for the disk; pause the source until `drained` resolves. The bytes are taken either way. */
  write(stream: OutputStream, chunk: Uint8Array): boolean;
  drained(): Promise<void>;
  /** Last lines of stderr, oldest first; of stdout when stderr is empty (a terminal has one stream only). Empty after close. */
  errorTail(): string[];
  /** Last lines of both, from the file. At most as many as `LOG_TAIL_LIMIT_BYTES` hold. */
  tail(lines: number): Promise<string[]>;
  /**
   * Gives the listener the last lines of both as they are, then whatever is added to the log, without a gap; undefined when the log is
   * closed. Resolves to what ends that.
   */
  follow(lines: number, listener: LogListener): Promise<() => void>;
  close(): Promise<void>;
}

export type LogListener = (data: Uint8Array | undefined) => void;

/** Where logs go: files in a runtime directory, or memory. */
export interface Logs {
  /** `name` is made safe for a file name: nothing of it can leave the folder. */
  open(name: string): LogWriter;
}

/** Bytes at the end of a log file that `tail` reads at most. */
export const LOG_TAIL_LIMIT_BYTES = 8_388_608;
/** Bytes at the end of a log file that `follow` begins with at most. */
export const LOG_FOLLOW_LIMIT_BYTES = 262_144;
/** Characters of one line that `tail` gives. */
export const LOG_LINE_LIMIT = 65_536;

/** A file name out of any text (reliability B24, B30). */
export function logFileName(name: string): string {
  const safe = name.replaceAll(/[^A-Za-z0-9._-]+/g, "-").replace(/^[.-]+/, "");
  return `${safe.slice(0, 128) || "unnamed"}.log`;
}

/** The last lines of bytes, an unfinished one included. */
export function lastLineBytes(bytes: Uint8Array, lines: number): Uint8Array {
  let from = bytes.length;
  // The newline at the very end belongs to the last line.
  let end = bytes.length - 1;
  for (let left = lines; left > 0; left--) {
    const newline = end > 0 ? bytes.lastIndexOf(10, end - 1) : -1;
    if (newline < 0) return bytes;
    from = newline + 1;
    end = newline;
  }
  return bytes.subarray(from);
}

/** Splits text into its last lines, each cut. The last line may be unfinished. */
export function lastLines(text: string, lines: number, lineLimit: number): string[] {
  const all = text.split(/\r?\n/);
  if (all.at(-1) === "") all.pop();
  const kept = lines <= 0 ? [] : all.slice(-lines);
  return kept.map((line) => (line.length > lineLimit ? `${line.slice(0, lineLimit - 1)}…` : line));
}
