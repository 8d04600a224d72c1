/** Bytes of a terminal's output that a viewer sees when it attaches. */
export const SCROLLBACK_LIMIT_BYTES = 262_144;

/** A pseudo-terminal that a process runs in. `TerminalService` shows it to viewers. */
export interface Terminal {
  /** What it showed last, at most `SCROLLBACK_LIMIT_BYTES`. */
  scrollback(): Buffer;
  /** Types into it. Ctrl-C reaches the process as SIGINT. Nothing happens once the process has ended. */
  write(keys: Uint8Array | string): void;
  resize(columns: number, rows: number): void;
  /** Called with each piece of output from now on. The returned function ends that. */
  onData(listener: (data: Uint8Array) => void): () => void;
}
