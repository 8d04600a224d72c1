import { hostname, userInfo } from "node:os";
import type { Screen } from "./screen.ts";

// Bracketed paste, application cursor keys, mouse reports, the alternate screen and a hidden cursor outlive what asked for them.
const RESET =
  "\u001b[?2004l\u001b[?1l\u001b[?1000l\u001b[?1002l\u001b[?1003l\u001b[?1006l\u001b[?47l\u001b[?25h\u001b[0m";

/** This process' own standard streams. */
export function processScreen(): Screen {
  const { stdin, stdout } = process;
  const isTerminal = stdout.isTTY === true;
  const left = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => left.abort(signal));
  stdout.on("error", (error) => left.abort(error));
  return {
    interactive: isTerminal && stdin.isTTY === true,
    isTerminal,
    left: left.signal,
    who: `${userName()}@${hostname()} (pid ${process.pid})`.slice(0, 128),
    size: () => (isTerminal ? { columns: stdout.columns, rows: stdout.rows } : undefined),
    async show(data) {
      if (stdout.write(data) || left.signal.aborted) return;
      await new Promise<void>((resolve) => {
        stdout.once("drain", resolve);
        left.signal.addEventListener("abort", () => resolve(), { once: true });
      });
    },
    takeKeyboard(listener) {
      stdin.setRawMode(true);
      stdin.on("data", listener);
      stdin.resume();
      return () => {
        stdin.off("data", listener);
        stdin.pause();
        stdin.setRawMode(false);
        stdout.write(RESET);
      };
    },
    onResize: (listener) => void stdout.on("resize", listener),
  };
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return `uid ${process.getuid?.()}`; // a container without a passwd entry
  }
}
