import { SCROLLBACK_LIMIT_BYTES } from "./terminal.ts";

const NEWLINE = 10;
// Device status and attributes, DECRQM, XTVERSION; OSC with a question mark; DECRQSS and XTGETTCAP.
const QUERIES =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences are what it is about
  /\u001b\[[?>=]?[\d;]{0,32}(?:[cn]|\$p|>?q)|\u001b\][\d;]{1,16};\?(?:\u0007|\u001b\\)|\u001bP[$+]q[^\u001b]{0,256}\u001b\\/g;

/**
 * Scrollback as a viewer may be shown it again: without the questions in it, which the viewer's terminal would answer into the rank as if
 * somebody had typed; and from a line's start where the oldest bytes are gone. Pure.
 */
export function replayable(scrollback: Uint8Array): Uint8Array {
  const cut = scrollback.length >= SCROLLBACK_LIMIT_BYTES ? scrollback.indexOf(NEWLINE) + 1 : 0;
  // Latin 1 keeps bytes as they are.
  const text = Buffer.from(scrollback.subarray(cut)).toString("latin1");
  return Buffer.from(text.replaceAll(QUERIES, ""), "latin1");
}
