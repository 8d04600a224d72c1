import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Complaint } from "./complaint.mjs";
import { withLock } from "./lock.mjs";
import { installPackages, packagesAreCurrent } from "./packages.mjs";
import { installPython, pythonIsCurrent } from "./python.mjs";
import { runCommand } from "./run.mjs";

/** What `npm run <command>` runs, from the root. */
export const COMMANDS = {
  demo: "scripts/demo.ts",
  test: "scripts/test.ts",
  bench: "scripts/bench.ts",
  whipray: "packages/cli/src/main.ts",
  check: "scripts/check.ts",
};

const LOCK_WAIT_MS = 15 * 60_000;

/**
 * Sets the working tree up, then becomes the command: same arguments, terminal, exit code and signals.
 * @param {string[]} argv the command's name and its arguments
 */
export async function main(argv) {
  const root = fileURLToPath(new URL("../..", import.meta.url));
  try {
    const script = commandScript(argv[0]);
    await setUp(root);
    if (!existsSync(join(root, script))) throw new Complaint(`${script} does not exist in this working tree.`);
    await runCommand(root, script, argv.slice(1));
  } catch (error) {
    if (!(error instanceof Complaint)) throw error;
    console.error(`whipray: ${error.message}`);
    process.exitCode = 1;
  }
}

/** @param {string | undefined} name */
function commandScript(name) {
  const known = Object.keys(COMMANDS);
  if (name === undefined || !known.includes(name)) {
    throw new Complaint(
      `unknown command "${name ?? ""}"; node scripts/bootstrap.mjs <${known.join(" | ")}> [arguments]`,
    );
  }
  return COMMANDS[/** @type {keyof typeof COMMANDS} */ (name)];
}

/**
 * Installs what is missing. The first look takes no lock, so a set-up tree starts at once; the second look, under the
 * lock, is for those who waited while another start did the work.
 * @param {string} root
 */
async function setUp(root) {
  if (packagesAreCurrent(root) && pythonIsCurrent(root)) return;
  await withLock(join(root, ".bootstrap.lock"), LOCK_WAIT_MS, async () => {
    if (!packagesAreCurrent(root)) await installPackages(root);
    if (!pythonIsCurrent(root)) await installPython(root);
  });
}
