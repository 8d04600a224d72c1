import { logFollow } from "@whipray/rpc";
import { ScreenText } from "./screen-text.ts";
import { droppedLine, type ViewOptions, viewerItems } from "./viewer-items.ts";

/**
 * Shows the last `lines` of a process' log and what is added to it, until a signal or its end. Escapes in it do not act on a terminal; a
 * pipe gets the bytes as they are.
 */
export async function logSession(options: ViewOptions & { readonly lines: number }): Promise<void> {
  const { process, screen, say, lines } = options;
  const left = Promise.withResolvers<undefined>();
  if (screen.left.aborted) left.resolve(undefined);
  screen.left.addEventListener("abort", () => left.resolve(undefined), { once: true });
  const text = new ScreenText();
  const items = viewerItems(options, logFollow, { process, lines }, left.promise);
  let step = await items.next();
  for (; !step.done; step = await items.next()) {
    const { dropped, data } = step.value;
    if (dropped !== undefined) await screen.show(droppedLine(dropped));
    if (data) await screen.show(screen.isTerminal ? text.push(data) : data);
  }
  say(step.value === undefined ? `[left the log of ${process}]` : `[${step.value}]`);
}
