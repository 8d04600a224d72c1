import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { VenvFolders } from "./venvs.ts";

/**
 * Virtual environments below `<root>/<pid>-<start time>`: on disk, for they are large. Those of raylets that are dead are removed first.
 * `close` removes our own.
 */
export function venvFolders(
  root: string,
  self: { pid: number; startTime: number },
  alive: (pid: number, startTime: number) => boolean,
): VenvFolders & { close(): Promise<void> } {
  const own = join(root, `${self.pid}-${self.startTime}`);
  let opened: Promise<string> | undefined;
  const open = async (): Promise<string> => {
    await mkdir(own, { recursive: true, mode: 0o700 });
    for (const name of await readdir(root)) {
      const [, pid, startTime] = /^(\d+)-(\d+)$/.exec(name) ?? [];
      const ours = join(root, name) === own;
      if (ours || pid === undefined || alive(Number(pid), Number(startTime))) continue;
      await rm(join(root, name), { recursive: true, force: true });
    }
    return own;
  };
  return {
    root() {
      opened ??= open();
      return opened;
    },
    remove: (name) => rm(join(own, name), { recursive: true, force: true }),
    close: () => rm(own, { recursive: true, force: true }),
  };
}
