import type { Logger } from "@whipray/core";
import type { KeepCache } from "./keep-cache.ts";

/** What was made: its path, and what it counts in the cache. */
export interface Made {
  readonly path: string;
  readonly weight: number;
}

/** Folders of one kind that several use: each is made once, kept as the cache decides, and removed after the last. */
export class KeptFolders {
  readonly #cache: KeepCache;
  readonly #removeFolder: (name: string) => Promise<void>;
  readonly #logger: Logger;
  readonly #paths = new Map<string, Promise<string>>();
  /** Removals under way, which a new folder of the same name waits for. */
  readonly #removals = new Map<string, Promise<void>>();

  constructor(cache: KeepCache, removeFolder: (name: string) => Promise<void>, logger: Logger) {
    this.#cache = cache;
    this.#removeFolder = removeFolder;
    this.#logger = logger;
  }

  /** One more user of the folder, which is made when there is none. One that could not be made has no users. */
  use(name: string, make: () => Promise<Made>): Promise<string> {
    if (this.#cache.use(name)) {
      const path = this.#make(name, make);
      this.#paths.set(name, path);
      path.catch(() => {
        this.#paths.delete(name);
        this.#cache.failed(name);
      });
    }
    return this.#paths.get(name)!;
  }

  async #make(name: string, make: () => Promise<Made>): Promise<string> {
    await this.#removals.get(name);
    const { path, weight } = await make();
    this.#cache.made(name, weight);
    return path;
  }

  leave(name: string): void {
    for (const removed of this.#cache.leave(name)) {
      this.#paths.delete(removed);
      const gone = this.#removeFolder(removed).catch((error: unknown) => {
        this.#logger.error("a folder was not removed", { name: removed, error: String(error) });
      });
      this.#removals.set(removed, gone);
      void gone.then(() => this.#removals.delete(removed));
    }
  }
}
