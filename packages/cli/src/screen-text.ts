// C0 without tab and newline, DEL, and C1: what a terminal obeys instead of showing.
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what it is about
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: as above
const COLOURS = /\u001b\[[0-9;:]{0,64}m/g;

/**
 * What another process wrote, as a terminal may safely show it (reliability B31): colours go, every other control character is
 * shown instead of obeyed (`␛]52;…`), and each step of a `\r` progress bar is a line. Give pieces as they come.
 */
export class ScreenText {
  readonly #decoder = new TextDecoder();
  /** A `\r` at the end of a piece: the next one may begin with its `\n`. */
  #heldReturn = "";

  push(piece: Uint8Array): string {
    const text = this.#heldReturn + this.#decoder.decode(piece, { stream: true });
    this.#heldReturn = text.endsWith("\r") ? "\r" : "";
    return screenText(this.#heldReturn === "" ? text : text.slice(0, -1));
  }
}

/** As `ScreenText`, of a text that is whole. */
export function screenText(text: string): string {
  return text.replaceAll(COLOURS, "").replaceAll(/\r+\n/g, "\n").replaceAll("\r", "\n").replaceAll(CONTROLS, picture);
}

/** The Unicode picture of a control character; C1 has none. */
function picture(control: string): string {
  const code = control.charCodeAt(0);
  if (code === 0x7f) return "\u2421";
  return code < 0x20 ? String.fromCharCode(0x2400 + code) : `\\x${code.toString(16)}`;
}
