/** Bytes of a terminal's output that a viewer sees when it attaches. */
export const SCROLLBACK_LIMIT_BYTES = 262_144;

/** Keys that wait for a process that does not read; what is typed beyond is refused. */
export const KEYS_LIMIT_BYTES = 1_048_576;

/** A pseudo-terminal that a process runs in. `TerminalService` shows it to viewers. */
export interface Terminal {
  /** What it showed last, at most `SCROLLBACK_LIMIT_BYTES`. */
  scrollback(): Buffer;
  /**
   * Types into it. Ctrl-C reaches the process as SIGINT. Resolves when the terminal has taken the keys, which one that is not read does
   * not do for ever; or when the process has ended.
   */
  write(keys: Uint8Array): Promise<void>;
  resize(columns: number, rows: number): void;
  /** Called with each piece of output from now on. The returned function ends that. */
  onData(listener: (data: Uint8Array) => void): () => void;
}
