import { mkdir, open, readdir, rm, statfs } from "node:fs/promises";
import { join } from "node:path";
import { WhiprayError } from "@whipray/core";
import type { SpillFiles } from "./spill-files.ts";

/** A disk that is fuller than this takes no spill files (Ray: 95 %). */
export const DISK_FULL_SHARE = 0.95;

/** One file an object, in a folder that carries its owner's pid and start: whoever finds it later can tell that it is left over. */
export class SpillFolder implements SpillFiles {
  readonly #root: string;
  readonly #folder: string;
  #made: Promise<void> | undefined;
  readonly #alive: (pid: number, startTime: number) => boolean;

  /** Nothing is made before the first object is spilled. */
  constructor(
    root: string,
    owner: { readonly name: string; readonly pid: number; readonly startTime: number },
    alive: (pid: number, startTime: number) => boolean,
  ) {
    this.#root = root;
    this.#folder = join(root, `${owner.name}-${owner.pid}-${owner.startTime}`);
    this.#alive = alive;
  }

  async write(object: string, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    this.#made ??= this.#make();
    await this.#made;
    const { blocks, bavail } = await statfs(this.#folder);
    if (bavail < blocks * (1 - DISK_FULL_SHARE)) {
      throw new WhiprayError({
        code: "OUT_OF_DISK",
        message: `the disk of ${this.#folder} is more than ${DISK_FULL_SHARE * 100} % full`,
      });
    }
    const file = await open(this.#path(object), "wx", 0o600);
    try {
      for await (const chunk of chunks) await file.writeFile(chunk);
    } finally {
      await file.close();
    }
  }

  async *read(object: string, chunkBytes: number): AsyncIterable<Uint8Array> {
    const file = await open(this.#path(object), "r");
    try {
      for (;;) {
        const { bytesRead, buffer } = await file.read(Buffer.allocUnsafeSlow(chunkBytes), 0, chunkBytes, null);
        if (bytesRead === 0) return;
        yield buffer.subarray(0, bytesRead);
      }
    } finally {
      await file.close();
    }
  }

  async erase(object: string): Promise<void> {
    await rm(this.#path(object), { force: true });
  }

  async close(): Promise<void> {
    if (!this.#made) return;
    await this.#made.catch(() => {}); // whoever wanted to write was told
    await rm(this.#folder, { recursive: true, force: true });
  }

  #path(object: string): string {
    return join(this.#folder, object);
  }

  async #make(): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    for (const name of await readdir(this.#root)) {
      const [, pid, startTime] = /-(\d+)-(\d+)$/.exec(name) ?? [];
      if (pid === undefined || this.#alive(Number(pid), Number(startTime))) continue;
      await rm(join(this.#root, name), { recursive: true, force: true });
    }
  }
}
