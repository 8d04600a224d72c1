import { asWhiprayError, WhiprayError } from "@whipray/core";
import { actorsList } from "@whipray/rpc";
import { attachTarget } from "../attach-target.ts";
import { logSession } from "../log-session.ts";
import { nodeOfProcess } from "../process-node.ts";
import { processScreen } from "../screen.io.ts";
import { TerminalSession } from "../terminal-session.ts";
import { askHead } from "./ask-head.io.ts";
import type { AskFlags, CommandContext } from "./command-context.ts";

export interface AttachFlags extends AskFlags {
  watch?: boolean;
  steal?: boolean;
}

/** Lines of a log that are shown where there is no terminal to attach to. */
const LOG_LINES = 100;

/**
 * `whipray attach actor/0`: shows and types into the pseudo-terminal of a running rank, from any machine of the cluster; without one
 * it follows the log, and says so.
 */
export async function attachCommand(subject: string, flags: AttachFlags, context: CommandContext): Promise<void> {
  const { watch = false, steal = false } = flags;
  const say = context.output.say;
  if (watch && steal) {
    throw new WhiprayError({ code: "USAGE", message: "--steal takes the keyboard and --watch does without; give one" });
  }
  await using head = await askHead(flags, context);
  const { actors } = await head.ask(actorsList, {});
  const { process, nodeId = await nodeOfProcess(process, head) } = attachTarget(subject, actors);
  const screen = processScreen();
  const mode = watch || !screen.interactive ? "watch" : "write";
  const session = { raylet: head.raylet(nodeId), process, screen, say, timeoutMs: flags.timeoutSeconds * 1_000 };
  try {
    await new TerminalSession({ ...session, mode, steal }).run();
  } catch (error) {
    const follow = asWhiprayError(error).details["follow"];
    if (asWhiprayError(error).code !== "NO_TERMINAL" || typeof follow !== "string") throw error;
    say(`[${asWhiprayError(error).message}; following its log, Ctrl-C ends]`);
    await logSession({ ...session, process: follow, lines: LOG_LINES });
  }
}
