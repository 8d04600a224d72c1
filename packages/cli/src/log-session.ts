import { logFollow } from "@whipray/rpc";
import { ScreenText } from "./screen-text.ts";
import { droppedLine, type ViewOptions, viewerItems } from "./viewer-items.ts";

export interface LogSessionOptions extends ViewOptions {
  /** How many of the last lines come first. */
  readonly lines: number;
  /** One JSON object a line: `{"line"}`, and `{"droppedBytes"}` where the viewer was too slow. */
  readonly json?: boolean;
}

/**
 * Shows the last `lines` of a process' log and what is added to it, until a signal or its end. Escapes in it do not act on a terminal; a
 * pipe gets the bytes as they are.
 */
export async function logSession(options: LogSessionOptions): Promise<void> {
  const { process, screen, say, lines, json = false } = options;
  const left = Promise.withResolvers<undefined>();
  if (screen.left.aborted) left.resolve(undefined);
  screen.left.addEventListener("abort", () => left.resolve(undefined), { once: true });
  const text = new ScreenText();
  const objects = new LineObjects();
  const shown = (data: Uint8Array) => (json ? objects.push(data) : screen.isTerminal ? text.push(data) : data);
  const items = viewerItems(options, logFollow, { process, lines }, left.promise);
  let step = await items.next();
  for (; !step.done; step = await items.next()) {
    const { dropped, data } = step.value;
    if (dropped !== undefined) {
      const gap = json ? `${objects.end()}${JSON.stringify({ droppedBytes: dropped })}\n` : droppedLine(dropped);
      await screen.show(gap);
    }
    if (data) await screen.show(shown(data));
  }
  if (json) await screen.show(objects.end());
  say(step.value === undefined ? `[left the log of ${process}]` : `[${step.value}]`);
}

/** Characters of a line in one JSON object; what is longer goes on in the next. */
export const JSON_LINE_LIMIT_CHARS = 65_536;

/** Makes lines out of pieces, each a JSON object. */
export class LineObjects {
  readonly #decoder = new TextDecoder();
  #begun = "";

  push(piece: Uint8Array): string {
    const lines = (this.#begun + this.#decoder.decode(piece, { stream: true })).split("\n");
    this.#begun = lines.pop() ?? "";
    const whole = lines.map((line) => objectsOf(line.replace(/\r$/, ""))).join("");
    return this.#begun.length > JSON_LINE_LIMIT_CHARS ? whole + this.end() : whole;
  }

  /** What has no newline yet. */
  end(): string {
    const line = this.#begun;
    this.#begun = "";
    return line === "" ? "" : objectsOf(line);
  }
}

function objectsOf(line: string): string {
  const count = Math.max(1, Math.ceil(line.length / JSON_LINE_LIMIT_CHARS));
  const pieces = Array.from({ length: count }, (_, index) =>
    line.slice(index * JSON_LINE_LIMIT_CHARS, (index + 1) * JSON_LINE_LIMIT_CHARS),
  );
  return pieces.map((piece) => `${JSON.stringify({ line: piece })}\n`).join("");
}
