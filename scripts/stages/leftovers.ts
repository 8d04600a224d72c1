import { homedir } from "node:os";
import { join } from "node:path";
import { snapshot, waitUntilClean } from "../../packages/testkit/src/leak-check.io.ts";
import { describeLeaks, type Snapshot } from "../../packages/testkit/src/leak-check.ts";
import type { Outcome } from "./stage.ts";

/** In the environment of all that a run starts: tells its processes from other runs' and from a user's cluster. */
export const RUN_VARIABLE = "WHIPRAY_TEST_RUN";

const DEADLINE_MS = 15_000;

/** What the machine looked like before the run, and where the check looks. */
export interface LeftoverCheck {
  before: Snapshot;
  places: { directories: string[]; shared: string[]; prefixes: string[]; links: string[] };
  /** Nobody else works on this machine: whatever appears is ours. */
  alone: boolean;
}

/**
 * Looks before anything starts.
 * @param own the run's temporary folder and the XDG_RUNTIME_DIR that its clusters get: nothing at all may stay in them
 * @param alone true in CI: then the places count, too, that a user's own clusters would use meanwhile
 */
export function beforeRun(own: { temporary: string; runtime: string }, alone: boolean): LeftoverCheck {
  const homes = [join(own.runtime, "whipray"), ...(alone ? [join(homedir(), ".cache/whipray")] : [])];
  // Device locks and the port table of a host are shared by all clusters and stay; so does Node's cache of compiled code.
  const shared = [...homes.map((home) => join(home, "host")), join(own.temporary, "node-compile-cache")];
  const names = { prefixes: alone ? ["whipray"] : [], links: alone ? ["wk"] : [] };
  const places = { directories: [...homes, own.temporary], shared, ...names };
  return { before: snapshot(places), places, alone };
}

/** Waits until all is gone that the run started, names what is left, and ends the processes of it. */
export async function afterRun(
  { before, places, alone }: LeftoverCheck,
  run: string,
  deadlineMs = DEADLINE_MS,
): Promise<Outcome> {
  const scope = { ...places, run: { variable: RUN_VARIABLE, value: run, unmarked: alone } };
  const leaks = await waitUntilClean(before, { ...scope, deadlineMs });
  for (const { process: left } of leaks) {
    const mark = left?.marks[RUN_VARIABLE];
    const ours = mark === run || mark?.startsWith(`${run}.`) === true;
    if (left && ours && left.state !== "Z") process.kill(left.pid, "SIGKILL");
  }
  return { passed: leaks.length === 0 ? 1 : 0, failed: leaks.length, output: describeLeaks(leaks) };
}
