import { anything, bool, bytes, count, type Infer, integer, method, oneOf, optional, shape, str } from "../fields.ts";

/** Bytes of output in one item of `terminal.attach` and `log.follow`, and of keys in one `terminal.write`. */
export const TERMINAL_CHUNK_LIMIT_BYTES = 65_536;
/** Columns and rows that a terminal may have. */
export const TERMINAL_SIZE_LIMIT = 1_000;

const sizeField = integer(1, TERMINAL_SIZE_LIMIT);
const modeField = oneOf("write", "watch");
export type TerminalMode = Infer<typeof modeField>;

/**
 * Anybody's driver → raylet, a stream of `terminalItem`: what the terminal of a process showed last, then what it shows from now on.
 * `process` is an engine's id, or that of the actor or worker whose only engine it is. Ends with `viewerEnd` when the process has
 * ended or after `terminal.detach`; a cancel detaches too.
 * Fails with `NO_TERMINAL` (`details.follow` is the process whose log can be followed instead), `TERMINAL_BUSY` naming who types,
 * `AMBIGUOUS`, `NOT_FOUND`, `LIMIT`.
 */
export const terminalAttach = method(
  "terminal.attach",
  shape({
    process: str(256),
    /** One writer, whose size the terminal has; any number of others watch. */
    mode: modeField,
    /** Takes the keyboard from whoever has it; that one watches from then on. */
    steal: bool,
    /** Size of the writer's screen; unchanged without. */
    columns: optional(sizeField),
    rows: optional(sizeField),
    /** For people: who this is. */
    who: str(128),
  }),
  anything,
);

/** driver → raylet, a stream of `terminalItem`: the last `lines` lines of a process' log, then what is added to it. Ends when it is closed. */
export const logFollow = method("log.follow", shape({ process: str(256), lines: count(100_000) }), anything);

/** One item of both streams. */
export const terminalItem = shape({
  /** Output as it was written, escapes included. */
  data: optional(bytes(TERMINAL_CHUNK_LIMIT_BYTES)),
  /** So many bytes of output are missing here: this viewer took them too slowly. */
  dropped: optional(count()),
  /** What this viewer may do from now on; in the first item, and when somebody takes the keyboard away (`by`). */
  mode: optional(modeField),
  by: optional(str(128)),
  /** First item only: this viewer's number for write, resize and detach, and what it looks at. */
  viewer: optional(count()),
  process: optional(str(256)),
});
export type TerminalItem = Infer<typeof terminalItem>;

/** The return value of both streams. */
export const viewerEnd = shape({ reason: str(2_048) });

/** Types into the terminal; 0x03 is Ctrl-C for what runs there. Only by the writer: else `NOT_THE_WRITER`, `NOT_FOUND`.
 * The reply comes when the terminal has taken the keys; `KEYS_NOT_READ` when too many wait already. */
export const terminalWrite = method(
  "terminal.write",
  shape({ viewer: count(), data: bytes(TERMINAL_CHUNK_LIMIT_BYTES) }),
  anything,
);
/** The writer's screen has another size; of one who watches it is ignored. */
export const terminalResize = method(
  "terminal.resize",
  shape({ viewer: count(), columns: sizeField, rows: sizeField }),
  anything,
);
/** The stream of this viewer ends; the process goes on. */
export const terminalDetach = method("terminal.detach", shape({ viewer: count() }), anything);
