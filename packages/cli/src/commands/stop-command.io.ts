import { existsSync, readFileSync } from "node:fs";
import { dirname } from "node:path";
import { delay, systemClock, WhiprayError } from "@whipray/core";
import { daemons } from "whipray";
import type { CommandContext } from "./command-context.ts";

export interface StopFlags {
  force?: boolean;
  graceSeconds: number;
  json?: boolean;
}

interface Stopped {
  kind: "head" | "raylet";
  pid: number;
  /** It did not leave by itself in time, or was not asked to. */
  killed: boolean;
}

const POLL_MS = 50;

/**
 * `whipray stop`: ends the daemons of this user's runtime directory, raylets first, since they say goodbye to the head. Looks at pid
 * and start time before every signal: a pid that somebody else has by now is left alone.
 */
export async function stopCommand(flags: StopFlags, { places, output }: CommandContext): Promise<void> {
  const known = daemons.listDaemons(places.daemons);
  const stopped: Stopped[] = [];
  for (const kind of ["raylet", "head"] as const) {
    const ours = known.filter(({ state }) => state.kind === kind);
    const running = ours.filter(({ state }) => daemons.daemonRuns(state));
    stopped.push(...(await Promise.all(running.map(({ state }) => end(state, flags)))));
    for (const { path } of ours) daemons.removeFile(path);
    for (const { state } of ours) if (kind === "head") forgetAddress(places.address, state.url);
  }
  // A raylet that was killed, by us or before, could not clean up after itself.
  const { stuck } = await daemons.sweepRuntime(dirname(places.daemons));
  for (const nodeId of stuck) output.say(`processes of ${nodeId} are still there (in D state?); look at them with ps`);
  if (flags.json) output.json({ stopped });
  else if (stopped.length === 0) output.say(`Nothing runs here (looked in ${places.daemons}).`);
  for (const { kind, pid, killed } of stopped) output.say(`${kind} ${pid} ${killed ? "was killed" : "has left"}`);
}

async function end(state: daemons.DaemonState, { force = false, graceSeconds }: StopFlags): Promise<Stopped> {
  const { kind, pid } = state;
  const graceMs = force ? 0 : graceSeconds * 1_000;
  if (!force) signal(state, "SIGTERM");
  if (!(await gone(state, graceMs))) {
    signal(state, "SIGKILL");
    if (!(await gone(state, 5_000))) {
      throw new WhiprayError({ code: "STOP_FAILED", message: `The ${kind} ${pid} is still there 5 s after SIGKILL` });
    }
    return { kind, pid, killed: true };
  }
  return { kind, pid, killed: false };
}

function signal(state: daemons.DaemonState, name: NodeJS.Signals): void {
  if (!daemons.daemonRuns(state)) return;
  try {
    process.kill(state.pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

async function gone(state: daemons.DaemonState, limitMs: number): Promise<boolean> {
  const untilMs = systemClock.now() + limitMs;
  while (daemons.daemonRuns(state)) {
    if (systemClock.now() >= untilMs) return false;
    await delay(systemClock, POLL_MS);
  }
  return true;
}

/** Nobody should be sent to a head that is gone; the token stays, it is the cluster's also when it starts again. */
function forgetAddress(file: string, url: string | undefined): void {
  if (url === undefined || !existsSync(file)) return;
  const known = readFileSync(file, "utf8").trim();
  // The file says how this machine dials it: for a head on all addresses, by loopback.
  if (URL.canParse(known) && new URL(known).port === new URL(url).port) daemons.removeFile(file);
}
