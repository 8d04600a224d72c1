import { logFollow } from "@whipray/rpc";
import { ScreenText } from "./screen-text.ts";
import { type SessionOptions, viewerItems } from "./terminal-session.ts";

/** Shows a process' log as it grows, until a signal or its end. Escapes in it do not act on a terminal; a pipe gets the bytes as they are. */
export async function logSession(options: SessionOptions & { lines: number }): Promise<void> {
  const { process, screen, say, lines } = options;
  const left = Promise.withResolvers<undefined>();
  screen.left.addEventListener("abort", () => left.resolve(undefined), { once: true });
  const text = new ScreenText();
  const items = viewerItems(options, logFollow, { process, lines }, left.promise);
  try {
    for (;;) {
      const { value, done } = await items.next();
      if (done) return say(value === undefined ? `[left the log of ${process}]` : `[${value}]`);
      if (value.dropped !== undefined) await screen.show(`\n[${value.dropped} bytes dropped]\n`);
      if (value.data) await screen.show(screen.isTerminal ? text.push(value.data) : value.data);
    }
  } finally {
    await items.return(undefined);
  }
}
