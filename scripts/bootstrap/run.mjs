import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { constants } from "node:os";
import { delimiter, join } from "node:path";

/** The Node that the lockfile pins (npm package `node`), not the one that runs this file. @param {string} root */
export const nodeBinary = (root) => join(root, "node_modules", ".bin", "node");

/** @type {NodeJS.Signals[]} */
const FORWARDED = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR2"];

/**
 * Runs the command to its end and takes over its exit code or signal.
 * @param {string} root
 * @param {string} script
 * @param {string[]} args
 */
export async function runCommand(root, script, args) {
  const child = spawn(nodeBinary(root), [join(root, script), ...args], { stdio: "inherit", env: environment(root) });
  for (const name of FORWARDED) {
    process.on(name, () => {
      if (!(isTerminalSignal(name) && sharesForegroundGroup())) child.kill(name);
    });
  }
  /** @type {[number | null, NodeJS.Signals | null]} */
  const [code, signal] = await new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("exit", (...end) => resolve(end));
  });
  process.exitCode = signal === null ? (code ?? 1) : 128 + constants.signals[signal];
}

/** `node`, `vitest` and `python3` of whatever runs below are the project's. @param {string} root */
function environment(root) {
  const venv = join(root, ".venv");
  const path = [join(root, "node_modules", ".bin"), join(venv, "bin"), process.env["PATH"] ?? ""].join(delimiter);
  return { ...process.env, VIRTUAL_ENV: venv, PATH: path };
}

/** @param {NodeJS.Signals} name */
const isTerminalSignal = (name) => name === "SIGINT" || name === "SIGQUIT";

/**
 * True when the terminal's Ctrl-C went to the whole foreground group, the child included: forwarding would make two.
 * Fields 5 and 8 of /proc/self/stat are our process group and the terminal's foreground group.
 */
function sharesForegroundGroup() {
  try {
    const stat = readFileSync("/proc/self/stat", "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[2] === fields[5];
  } catch {
    return process.stdin.isTTY === true;
  }
}
