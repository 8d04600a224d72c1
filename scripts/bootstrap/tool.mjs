import { spawn } from "node:child_process";

/** @typedef {{ code: number | null, signal: NodeJS.Signals | null, missing: boolean, output: string }} ToolResult */

/**
 * Runs a set-up tool to its end. Its output goes to stderr, since stdout belongs to the command that follows
 * (`npm run whipray -- status --json`), or is returned with `capture`.
 * @param {string} file
 * @param {string[]} args
 * @param {{ cwd?: string, env?: Record<string, string>, capture?: boolean }} [options]
 * @returns {Promise<ToolResult>}
 */
export function tool(file, args, { cwd, env, capture } = {}) {
  return new Promise((resolve, reject) => {
    const sink = capture ? "pipe" : 2;
    const child = spawn(file, args, { cwd, env: { ...process.env, ...env }, stdio: ["ignore", sink, sink] });
    let output = "";
    child.stdout?.on("data", (chunk) => (output += chunk));
    child.stderr?.on("data", (chunk) => (output += chunk));
    const stop = () => child.kill("SIGTERM");
    process.on("SIGTERM", stop).on("SIGHUP", stop).on("SIGINT", stop);
    const done = () => process.off("SIGTERM", stop).off("SIGHUP", stop).off("SIGINT", stop);
    child.on("error", (error) => {
      done();
      if ("code" in error && error.code === "ENOENT") resolve({ code: null, signal: null, missing: true, output });
      else reject(error);
    });
    child.on("close", (code, signal) => {
      done();
      resolve({ code, signal, missing: false, output });
    });
  });
}
