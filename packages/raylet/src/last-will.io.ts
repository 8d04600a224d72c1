import { spawn } from "node:child_process";

/** Guards end their trees within 2 s of their raylet's death; what is left after this is ended from here. */
const GUARDS_FIRST_S = 3;

// Waits until its stdin ends (we are gone, or said so), then kills whatever carries the mark, again until nothing does.
// A line of environ that is not the whole mark does not match, so neither this shell nor its grep does.
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
  [ "$found" ] || exit 0
  round=$((round + 1))
  sleep 0.1
done
exit 1
`;

/** A small shell beside a raylet that outlives it: see `lastWill`. */
export interface LastWill {
  /** Ends what is left now, and with it the shell. */
  close(): Promise<void>;
}

/**
 * SIGKILL of a raylet also takes the only one who would look for what its workers started in sessions of their own. So a shell
 * waits for that end, and then kills every process with `variable=value` in its environment (promise 3, F1, F5). It costs a
 * megabyte and is started with the first process.
 */
export function lastWill(variable: string, value: string, path: string): LastWill {
  const shell = spawn("/bin/sh", ["-c", SCRIPT, "whipray-last-will", `${variable}=${value}`], {
    cwd: "/",
    env: { PATH: path },
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
