import { WhiprayError } from "@whipray/core";
import type { daemons } from "whipray";
import type { Output } from "../output.io.ts";

/**
 * `--block`: stays until SIGTERM or SIGINT, then ends the daemons in the order given; or until one of them ends by itself.
 * @throws WhiprayError `DAEMON_ENDED`
 */
export async function stayUntilEnd(started: readonly daemons.LaunchedDaemon[], output: Output): Promise<void> {
  const asked = new Promise<undefined>((resolve) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => resolve(undefined));
  });
  const ended = started.map(async (daemon) => ({ daemon, exit: await daemon.exited }));
  const first = await Promise.race([asked, ...ended]);
  for (const { child, exited } of started) {
    child.kill("SIGTERM");
    await exited;
  }
  if (first === undefined) return output.say("stopped");
  const { exit, daemon } = first;
  const how = exit.signal ?? `exit code ${exit.code}`;
  throw new WhiprayError({
    code: "DAEMON_ENDED",
    message: `Process ${daemon.child.pid} ended with ${how}; the rest was stopped`,
  });
}
