import { chmod, lstat, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Logger, silentLogger, WhiprayError } from "@whipray/core";
import type { Processes } from "./processes.ts";
import { type DirectoryOwner, NODE_MARK, OWNER_FILE, parseOwner, type RuntimeDirectory } from "./runtime-directory.ts";

/** Guards end their trees by themselves when their raylet is gone; after this long they are not waited for. */
const GUARDS_WAIT_MS = 2_500;
const SWEEP_MS = 5_000;

/** What was found of raylets that are no more. */
export interface SweepReport {
  /** Nodes whose leftovers were ended. */
  readonly nodes: readonly string[];
  readonly killed: number;
  /** Nodes of which processes are still there: what they held must not be offered. */
  readonly stuck: readonly string[];
}

/**
 * Makes the folders of a raylet, mode 0700, after ending what dead raylets of this user left on this host (design.md, mechanism
 * 11; reliability F5): so no device is offered while an earlier owner of it may live.
 * @throws WhiprayError `RUNTIME_DIRECTORY_UNSAFE` when the root is a link or belongs to somebody else; `NODE_ID_IN_USE` when a
 * live raylet owns the folder.
 */
export async function openRuntimeDirectory(
  directory: RuntimeDirectory,
  owner: DirectoryOwner,
  processes: Processes,
  logger: Logger = silentLogger,
): Promise<SweepReport> {
  await makePrivate(directory.root);
  const report = await sweepDead(directory.root, processes, logger);
  const before = await ownerOf(directory.node);
  if (before && (before.nodeId !== owner.nodeId || before.inc !== owner.inc)) {
    throw new WhiprayError({
      code: "NODE_ID_IN_USE",
      message: `${directory.node} belongs to ${before.nodeId}, which runs as pid ${before.pid}`,
      details: { path: directory.node, nodeId: before.nodeId, pid: before.pid },
    });
  }
  for (const folder of ["", "/s", "/x", "/logs"])
    await mkdir(directory.node + folder, { recursive: true, mode: 0o700 });
  await mkdir(directory.locks, { recursive: true, mode: 0o700 });
  const path = join(directory.node, OWNER_FILE);
  await writeFile(`${path}.new`, JSON.stringify(owner), { mode: 0o600 });
  await rename(`${path}.new`, path);
  return report;
}

/** Removes a node's folder. Logs go too unless `keepLogs`. */
export async function closeRuntimeDirectory(directory: RuntimeDirectory, keepLogs: boolean): Promise<void> {
  if (!keepLogs) return rm(directory.node, { recursive: true, force: true });
  for (const name of await readdir(directory.node).catch(() => [])) {
    if (name !== "logs") await rm(join(directory.node, name), { recursive: true, force: true });
  }
}

/** A file that only this user reads. */
export async function writeSecret(path: string, text: string): Promise<void> {
  await writeFile(path, text, { mode: 0o600, flag: "wx" });
}

async function makePrivate(root: string): Promise<void> {
  await mkdir(root, { recursive: true, mode: 0o700 });
  const found = await lstat(root);
  if (!found.isDirectory() || found.uid !== process.getuid?.()) {
    throw new WhiprayError({
      code: "RUNTIME_DIRECTORY_UNSAFE",
      message: `${root} must be a folder of this user, and no link; it belongs to uid ${found.uid}`,
      details: { path: root, uid: found.uid },
    });
  }
  if ((found.mode & 0o077) !== 0) await chmod(root, 0o700);
}

/** Ends what raylets left that are dead, and removes their folders. Living ones are not touched. */
export async function sweepDead(root: string, processes: Processes, logger: Logger): Promise<SweepReport> {
  const nodes: string[] = [];
  const stuck: string[] = [];
  let killed = 0;
  for (const entry of await readdir(root, { withFileTypes: true })) {
    const path = join(root, entry.name);
    const owner = entry.isDirectory() ? await ownerOf(path) : undefined;
    if (!owner || processes.alive(owner.pid, owner.startTime)) continue;
    const guards = await processes.sweep(NODE_MARK, owner.nodeId, 0);
    if (guards.left > 0) await waitForGuards(processes, owner.nodeId);
    const outcome = await processes.sweep(NODE_MARK, owner.nodeId, SWEEP_MS);
    killed += outcome.killed;
    nodes.push(owner.nodeId);
    logger.warn("ended what a dead raylet left", { nodeId: owner.nodeId, killed: outcome.killed, left: outcome.left });
    if (outcome.left > 0) stuck.push(owner.nodeId);
    else await rm(path, { recursive: true, force: true });
  }
  return { nodes, killed, stuck };
}

async function waitForGuards(processes: Processes, nodeId: string): Promise<void> {
  for (let waitedMs = 0; waitedMs < GUARDS_WAIT_MS; waitedMs += 50) {
    if ((await processes.sweep(NODE_MARK, nodeId, 0)).left === 0) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function ownerOf(path: string): Promise<DirectoryOwner | undefined> {
  const text = await readFile(join(path, OWNER_FILE), "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  return text === undefined ? undefined : parseOwner(text);
}
