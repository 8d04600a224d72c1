import { existsSync } from "node:fs";
import { mkdir, readFile, realpath, rename, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Member } from "@whipray/rpc";
import type { PackageFolders } from "./package-folders.ts";

/** Files written at the same time. */
const WRITES_AT_ONCE = 16;
/** A package that has one of these at its root finds its dependencies in node_modules beside the same file on the node. */
const LOCKFILES = ["pnpm-lock.yaml", "package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "bun.lock"];

/**
 * Packages below `root`, which only this user can enter. Each is written under another name first, and is there whole or not at all. Its
 * node_modules is a link to those of a folder at or above `cwd` with the same lockfile, where there is one.
 */
export function packageFolders(root: string, cwd: string): PackageFolders {
  return {
    async unpack(name, members) {
      const path = join(root, name);
      const made = `${path}.new`;
      await rm(made, { recursive: true, force: true });
      try {
        await mkdir(made, { recursive: true, mode: 0o700 });
        await writeMembers(made, members);
        const modules = await nodeModules(members, cwd);
        if (modules !== undefined) await symlink(modules, join(made, "node_modules"));
        await rename(made, path);
      } catch (error) {
        await rm(made, { recursive: true, force: true });
        throw error;
      }
      return realpath(path); // what Node and Python will call it
    },
    remove: (name) => rm(join(root, name), { recursive: true, force: true }),
  };
}

async function writeMembers(folder: string, members: readonly Member[]): Promise<void> {
  const folders = new Set(members.map(({ path }) => dirname(join(folder, path))));
  for (const one of folders) await mkdir(one, { recursive: true, mode: 0o700 });
  for (let at = 0; at < members.length; at += WRITES_AT_ONCE) {
    const some = members.slice(at, at + WRITES_AT_ONCE);
    await Promise.all(
      some.map(({ path, content, executable }) =>
        writeFile(join(folder, path), content, { mode: executable ? 0o700 : 0o600, flag: "wx" }),
      ),
    );
  }
}

async function nodeModules(members: readonly Member[], cwd: string): Promise<string | undefined> {
  const lockfile = members.find(({ path }) => LOCKFILES.includes(path));
  if (!lockfile || members.some(({ path }) => path.startsWith("node_modules/"))) return undefined;
  for (let folder = cwd; ; folder = dirname(folder)) {
    const own = await readFile(join(folder, lockfile.path)).catch(() => undefined); // most folders have none
    const modules = join(folder, "node_modules");
    if (own?.equals(lockfile.content) && existsSync(modules)) return modules;
    if (folder === dirname(folder)) return undefined;
  }
}
