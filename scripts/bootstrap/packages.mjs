import { existsSync } from "node:fs";
import { join } from "node:path";
import { Complaint } from "./complaint.mjs";
import { nodeBinary } from "./run.mjs";
import { inputsHash, stampMatches, writeStamp } from "./stamp.mjs";
import { tool } from "./tool.mjs";

const PNPM = "pnpm@12";

/** @param {string} root */
const stampOf = (root) => join(root, "node_modules", ".whipray-packages");

/** @param {string} root */
function hashOf(root) {
  const files = ["pnpm-lock.yaml", "pnpm-workspace.yaml"].map((name) => join(root, name));
  return inputsHash(files, [process.platform, process.arch, PNPM]);
}

/** True when node_modules was made from the lockfile as it is now. @param {string} root */
export function packagesAreCurrent(root) {
  return existsSync(nodeBinary(root)) && stampMatches(stampOf(root), hashOf(root));
}

/** npm's `npx` brings pnpm, pnpm brings everything else, Node 26 included. @param {string} root */
export async function installPackages(root) {
  console.error("whipray: installing packages (pnpm, frozen lockfile; about half a minute at first)");
  const hash = hashOf(root);
  const result = await tool("npx", ["--yes", PNPM, "install", "--frozen-lockfile", "--loglevel=error"], {
    cwd: root,
    env: { CI: "true" },
  });
  if (result.missing)
    throw new Complaint("`npx` was not found; it comes with npm, which comes with Node (https://nodejs.org).");
  if (result.code !== 0) {
    throw new Complaint(
      `installing the packages failed (pnpm ended with ${result.code ?? result.signal}; its output is above). ` +
        "Behind a proxy set HTTPS_PROXY or npm's `registry`; after editing a package.json run `npx pnpm@12 install` once.",
    );
  }
  if (!existsSync(nodeBinary(root)))
    throw new Complaint(
      `pnpm ended well, but ${nodeBinary(root)} does not exist; delete node_modules and start again.`,
    );
  writeStamp(stampOf(root), hash);
}
