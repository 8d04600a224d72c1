import { type ChildProcess, spawn } from "node:child_process";
import type { ToolCommand, ToolEnd } from "./stage.ts";

const running = new Set<ChildProcess>();
const GRACE_MS = 5_000;

/** A command with all that a start needs. */
interface StartedCommand extends Omit<ToolCommand, "env"> {
  cwd: string;
  env: Readonly<Record<string, string | undefined>>;
}

/**
 * Runs a tool in a process group of its own, without standard input, to its end or its deadline. What it leaves behind in
 * its group is killed with it; what left the group is the leak check's to find.
 */
export function runTool(command: StartedCommand): Promise<ToolEnd> {
  const { file, args, cwd, env, deadlineMs } = command;
  return new Promise((resolve) => {
    const child = spawn(file, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"], detached: true });
    running.add(child);
    const chunks: Buffer[] = [];
    let overdue = false;
    const timer = setTimeout(() => {
      overdue = true;
      end(child);
    }, deadlineMs);
    child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => chunks.push(chunk));
    const finish = (code: number | null, tail = ""): void => {
      clearTimeout(timer);
      running.delete(child);
      resolve({ code: code ?? undefined, output: Buffer.concat(chunks).toString() + tail, overdue });
    };
    child.on("error", (error) => finish(null, `${file}: ${error.message}`));
    // A grandchild may keep the pipes open for ever: after the tool's exit they get a moment to drain.
    child.on("exit", (code) => {
      const drained = setTimeout(() => finish(code, "\n(a process that it started still holds its output)"), GRACE_MS);
      child.on("close", () => {
        clearTimeout(drained);
        finish(code);
      });
    });
  });
}

/** Ends every tool that runs, with all of its process group. */
export function endTools(): void {
  for (const child of running) end(child);
}

function end(child: ChildProcess): void {
  signal(child, "SIGTERM");
  setTimeout(() => signal(child, "SIGKILL"), GRACE_MS).unref();
}

function signal({ pid }: ChildProcess, name: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, name);
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error;
  }
}
