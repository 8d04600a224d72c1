import { systemClock, WhiprayError } from "@whipray/core";
import {
  decodeControl,
  encodeControl,
  type Method,
  type Parts,
  type Peer,
  type TerminalItem,
  terminalItem,
  viewerEnd,
} from "@whipray/rpc";
import type { Screen } from "./screen.ts";

/** What both kinds of viewers need: of a terminal, and of a log. */
export interface ViewOptions {
  readonly raylet: Peer;
  /** Engine, worker or actor on that node. */
  readonly process: string;
  readonly screen: Screen;
  /** A line for the user, beside what the process shows. */
  readonly say: (line: string) => void;
  /** Until the first answer. */
  readonly timeoutMs: number;
}

/**
 * Items of a viewer's stream. Returns what the raylet says of its end; undefined when `left` resolved first: then nobody waits for the
 * network. @throws WhiprayError `TIMEOUT` without a first answer; what the stream or `left` failed with.
 */
export async function* viewerItems<Request>(
  { raylet, timeoutMs, process }: ViewOptions,
  method: Method<Request, unknown>,
  request: Request,
  left: Promise<undefined>,
): AsyncGenerator<TerminalItem, string | undefined> {
  const stream = raylet.stream(method.name, [encodeControl(request)]);
  const late = Promise.withResolvers<never>();
  late.promise.catch(() => {});
  const timer = systemClock.after(timeoutMs, () => {
    const message = `The node of ${process} has not answered for ${timeoutMs} ms`;
    late.reject(new WhiprayError({ code: "TIMEOUT", message }));
  });
  try {
    for (let first = true; ; first = false) {
      const step = await Promise.race([stream.next(), left, ...(first ? [late.promise] : [])]);
      timer.cancel();
      if (step === undefined) return undefined;
      if (step.done) return viewerEnd(decodeControl(bodyOf(step.value)), "end of stream").reason;
      yield terminalItem(decodeControl(bodyOf(step.value)), "item");
    }
  } finally {
    timer.cancel();
    void stream.return?.();
  }
}

function bodyOf(parts: Parts | undefined): Uint8Array {
  return parts?.[0] ?? new Uint8Array(0);
}

/** How a gap is shown. */
export function droppedLine(bytes: number): string {
  return `\n[${bytes} bytes dropped]\n`;
}
