import { asWhiprayError, systemClock, WhiprayError } from "@whipray/core";
import {
  decodeControl,
  encodeControl,
  type ItemStream,
  type Method,
  type Parts,
  type Peer,
  TERMINAL_CHUNK_LIMIT_BYTES,
  type TerminalItem,
  type TerminalMode,
  terminalAttach,
  terminalDetach,
  terminalItem,
  terminalResize,
  terminalWrite,
  viewerEnd,
} from "@whipray/rpc";
import { DETACH_KEY, type Screen } from "./screen.ts";

/** Keys that wait for the cluster; what is typed beyond is refused with a line. */
export const KEYS_WAITING_LIMIT_BYTES = 1_048_576;
const INTERRUPT_KEY = 0x03;
/** How long a goodbye may take; the end of our connection detaches too. */
const DETACH_TIMEOUT_MS = 1_000;

export interface SessionOptions {
  readonly raylet: Peer;
  readonly process: string;
  readonly screen: Screen;
  /** A line for the user. */
  readonly say: (line: string) => void;
  /** Until the first answer. */
  readonly timeoutMs: number;
}

/** Items of a viewer's stream; ends with what the raylet says of the end, or undefined when we left. */
export async function* viewerItems<Request>(
  { raylet, timeoutMs, process }: SessionOptions,
  method: Method<Request, unknown>,
  request: Request,
  left: Promise<undefined>,
): AsyncGenerator<TerminalItem, string | undefined> {
  const stream: ItemStream = raylet.stream(method.name, [encodeControl(request)]);
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

/**
 * Shows the terminal of a process and types into it, until ctrl-], a signal, or the process' end.
 * @throws WhiprayError what `terminal.attach` was refused with, among it `NO_TERMINAL` and `TERMINAL_BUSY`.
 */
export async function terminalSession(options: SessionOptions & { mode: TerminalMode; steal: boolean }): Promise<void> {
  const { raylet, process, screen, say, steal } = options;
  const left = Promise.withResolvers<undefined>();
  const leave = (): void => left.resolve(undefined);
  screen.left.addEventListener("abort", leave, { once: true });
  if (screen.left.aborted) leave();
  let { mode } = options;
  let viewer: number | undefined;
  let release = (): void => {};
  let waitingBytes = 0;
  const trouble = (error: unknown): void => {
    // Too late for it: somebody took the keyboard, or the process ended; the stream tells.
    if (!["NOT_THE_WRITER", "NOT_FOUND"].includes(asWhiprayError(error).code)) left.reject(error);
  };
  const type = (data: Uint8Array): void => {
    if (waitingBytes + data.length > KEYS_WAITING_LIMIT_BYTES) {
      say(`[${data.length} bytes not typed: too many wait]`);
      return;
    }
    waitingBytes += data.length;
    const typed = raylet.invoke(terminalWrite, { viewer: viewer!, data });
    typed.catch(trouble).finally(() => {
      waitingBytes -= data.length;
    });
  };
  const onKeys = (keys: Uint8Array): void => {
    const end = keys.indexOf(DETACH_KEY);
    const typed = end < 0 ? keys : keys.subarray(0, end);
    if (mode === "watch" && typed.includes(INTERRUPT_KEY)) leave();
    for (let at = 0; mode === "write" && at < typed.length; at += TERMINAL_CHUNK_LIMIT_BYTES) {
      type(typed.subarray(at, at + TERMINAL_CHUNK_LIMIT_BYTES));
    }
    if (end >= 0) leave();
  };
  screen.onResize(() => {
    const size = screen.size();
    if (size && viewer !== undefined && mode === "write")
      raylet.invoke(terminalResize, { viewer, ...size }).catch(trouble);
  });
  const ask = { process, mode, steal, who: screen.who, ...screen.size() };
  const items = viewerItems(options, terminalAttach, ask, left.promise);
  try {
    for (;;) {
      const { value, done } = await items.next();
      if (done) {
        release();
        return say(value === undefined ? `[detached from ${process}; it goes on]` : `[${value}]`);
      }
      if (value.viewer !== undefined) {
        viewer = value.viewer;
        const keys = screen.interactive ? "; ctrl-] detaches" : "";
        say(`[${mode === "write" ? "typing into" : "watching"} ${value.process ?? process}${keys}]`);
        if (screen.interactive) release = screen.takeKeyboard(onKeys);
      }
      mode = value.mode ?? mode;
      if (value.by !== undefined) say(`\n[${value.by} took the keyboard; you watch]`);
      if (value.dropped !== undefined) await screen.show(`\n[${value.dropped} bytes dropped]\n`);
      if (value.data) await screen.show(value.data);
    }
  } finally {
    release();
    await items.return(undefined);
    if (viewer !== undefined) {
      await raylet.invoke(terminalDetach, { viewer }, { timeoutMs: DETACH_TIMEOUT_MS }).catch(() => {}); // it may be gone
    }
  }
}
