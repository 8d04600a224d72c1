/** Ctrl-]: leaves, as in telnet. It cannot be typed into the process. */
export const DETACH_KEY = 0x1d;

/** What `attach` shows on and hears from. A terminal, or plain pipes. */
export interface Screen {
  /** Keys can be typed: both sides are a terminal. */
  readonly interactive: boolean;
  /** What is written lands on a terminal, which would obey escapes. */
  readonly isTerminal: boolean;
  size(): { columns: number; rows: number } | undefined;
  /** Resolves when more may be shown. */
  show(data: Uint8Array | string): Promise<void>;
  /** From here on keys go to the listener as they are typed, Ctrl-C too. The returned function gives the terminal back. */
  takeKeyboard(listener: (keys: Uint8Array) => void): () => void;
  onResize(listener: () => void): void;
  /** Aborted by SIGTERM, SIGHUP, SIGINT from outside, and when nobody reads what we show. */
  readonly left: AbortSignal;
  /** What this viewer is called where others are told who types. */
  readonly who: string;
}
