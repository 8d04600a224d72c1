import type { Stats } from "node:fs";
import { readdir, readFile, realpath, stat } from "node:fs/promises";
import { basename, join, sep } from "node:path";
import { WhiprayError } from "@whipray/core";
import { type Member, memberProblem, PACKAGE_FILES_LIMIT, packageTooLarge, UNPACKED_LIMIT_BYTES } from "@whipray/rpc";

/** Files read at the same time. */
const READS_AT_ONCE = 16;
const OWNER_EXECUTES = 0o100;

interface Found {
  readonly file: string;
  readonly path: string;
  readonly stats: Stats;
}

/**
 * The files of a directory for a package, but those that `left` names. Links to files inside of it are packed as files.
 * @throws WhiprayError `INVALID_PATH` when it is missing or no directory, or naming what cannot travel: a link out of it or to a
 * folder, a socket, a name that not every system has; `PACKAGE_TOO_LARGE`.
 */
export async function directoryMembers(directory: string, left: (path: string) => boolean): Promise<Member[]> {
  const root = await realpath(directory).catch((cause: unknown) => {
    throw invalidPath(directory, "does not exist, or cannot be read", cause);
  });
  if (!(await stat(root)).isDirectory()) throw invalidPath(directory, "is not a directory");
  const found = new FoundList();
  const folders = [""];
  for (let folder = folders.shift(); folder !== undefined; folder = folders.shift()) {
    const entries = await readdir(join(root, folder), { withFileTypes: true });
    for (const entry of entries) {
      const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
      if (left(path)) continue;
      if (entry.isDirectory()) folders.push(path);
      else found.add(await fileAt(root, path));
    }
  }
  return found.read();
}

/** A Python module for a package: a directory under its own name, or one file (Ray: py_modules). @throws as `directoryMembers` */
export async function moduleMembers(module: string, left: (path: string) => boolean): Promise<Member[]> {
  const name = basename(module);
  const stats = await stat(module).catch((cause: unknown) => {
    throw invalidPath(module, "does not exist, or cannot be read", cause);
  });
  if (stats.isDirectory()) {
    return (await directoryMembers(module, left)).map((member) => ({ ...member, path: `${name}/${member.path}` }));
  }
  if (!stats.isFile() || !name.endsWith(".py")) throw invalidPath(module, "is neither a directory nor a .py file");
  const found = new FoundList();
  found.add({ file: module, path: name, stats });
  return found.read();
}

async function fileAt(root: string, path: string): Promise<Found> {
  const file = await realpath(join(root, path)).catch((cause: unknown) => {
    throw invalidPath(join(root, path), "is a link to nothing", cause);
  });
  if (!file.startsWith(root === sep ? sep : root + sep))
    throw invalidPath(join(root, path), "is a link out of its directory");
  const stats = await stat(file);
  if (!stats.isFile()) throw invalidPath(join(root, path), "is no file, and no folder of its own");
  const problem = memberProblem(path);
  if (problem) throw invalidPath(join(root, path), `cannot travel: its path ${problem}`);
  return { file, path, stats };
}

/** What is to be read, within a package's limits: they hold before anything is read. */
class FoundList {
  readonly #files: Found[] = [];
  #bytes = 0;

  add(found: Found): void {
    this.#files.push(found);
    this.#bytes += found.stats.size;
    if (this.#files.length > PACKAGE_FILES_LIMIT)
      throw packageTooLarge("files", this.#files.length, PACKAGE_FILES_LIMIT);
    if (this.#bytes > UNPACKED_LIMIT_BYTES) throw packageTooLarge("bytes of files", this.#bytes, UNPACKED_LIMIT_BYTES);
  }

  async read(): Promise<Member[]> {
    const members: Member[] = [];
    for (let at = 0; at < this.#files.length; at += READS_AT_ONCE) {
      const some = this.#files.slice(at, at + READS_AT_ONCE);
      members.push(
        ...(await Promise.all(
          some.map(async ({ file, path, stats }): Promise<Member> => {
            return { path, content: await readFile(file), executable: (stats.mode & OWNER_EXECUTES) !== 0 };
          }),
        )),
      );
    }
    return members;
  }
}

function invalidPath(path: string, problem: string, cause?: unknown): WhiprayError {
  return new WhiprayError({
    code: "INVALID_PATH",
    message: `${JSON.stringify(path.slice(0, 400))} ${problem}`,
    details: { path: path.slice(0, 400) },
    ...(cause !== undefined && { cause }),
  });
}
