/** One line of JSON to a side: run the row's loop for some seconds, or take down what the row made. */
export type SideRequest = { row: string; seconds: number; scale: number } | { end: string };

/** One line of JSON from a side. */
export type SideReply =
  | { ready: true; facts: Record<string, unknown> }
  /** Seconds that each step took. */
  | { took: number[] }
  /** A figure that is no rate. */
  | { value: number }
  | { ended: true }
  | { error: string };

/** Longest line of a side in characters: a million steps, and some. */
export const MAX_LINE_CHARS = 32_000_000;
