import { spawn } from "node:child_process";
import { OWNER_FILE, RAYLET_MARK } from "./runtime-directory.ts";

/** Guards end their trees within 2 s of their raylet's death; what is left after this is ended from here. */
const GUARDS_FIRST_S = 3;

// Waits until its stdin ends (we are gone, or said so), then kills whatever carries the mark, again until nothing does.
// A line of environ that is not the whole mark does not match, so neither this shell nor its grep does. The folder goes last, and
// only when nobody could still use it and it is ours: a raylet that came back meanwhile has written its own name there.
const SCRIPT = `
read -r word
[ "$word" = now ] || sleep ${GUARDS_FIRST_S}
round=0
while [ $round -lt 50 ]; do
  found=
  for file in $(grep -lzsxF "$1" /proc/[0-9]*/environ); do
    pid=\${file#/proc/}
    kill -9 "\${pid%/environ}" && found=yes
  done
  [ "$found" ] || break
  round=$((round + 1))
  sleep 0.1
done
[ "$found" ] && exit 1
if [ "$word" != now ] && grep -qF ""$2"" "$3/${OWNER_FILE}"; then mv "$3" "$3.$2" && rm -rf "$3.$2"; fi
exit 0
`;

/** A small shell beside a raylet that outlives it: see `lastWill`. */
export interface LastWill {
  /** Ends what is left now, and with it the shell. */
  close(): Promise<void>;
}

export interface LastWillOptions {
  readonly cluster: string;
  /** Incarnation of the raylet: what it started carries it. */
  readonly incarnation: string;
  /** Its own folder, which goes with it. */
  readonly folder: string;
  readonly path: string;
}

/**
 * SIGKILL of a raylet also takes the only one who would look for what its workers started in sessions of their own. So a shell
 * waits for that end, then kills every process with the raylet's incarnation in its environment, and removes its folder (promise 3,
 * F1, F5). It costs a megabyte and is started with the first process: an idle raylet leaves at most its empty folder, until the next
 * one starts on its host. In a pid namespace of which the raylet is the first process the kernel ends all of this, the shell too.
 */
export function lastWill({ cluster, incarnation, folder, path }: LastWillOptions): LastWill {
  const mark = `${RAYLET_MARK}=${incarnation}`;
  const args = ["-c", SCRIPT, "whipray-last-will", mark, incarnation, folder];
  const shell = spawn("/bin/sh", args, {
    cwd: "/",
    // The cluster's mark, for whoever looks for what it left; not the raylet's, which this shell kills.
    env: { PATH: path, WHIPRAY_CLUSTER: cluster },
    // Its own session: what ends our terminal or our group must not end it.
    detached: true,
    stdio: ["pipe", "ignore", "ignore"],
  });
  const ended = new Promise<void>((resolve) => {
    shell.once("exit", () => resolve());
    shell.once("error", () => resolve()); // a machine without a shell: the next raylet's sweep does the same, later
  });
  shell.stdin.on("error", () => {}); // it was killed before us
  shell.unref();
  return {
    close() {
      shell.ref();
      shell.stdin.end("now\n");
      return ended;
    },
  };
}
