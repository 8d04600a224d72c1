import type { Member } from "@whipray/rpc";

/** Where packages are unpacked on a node. The in-memory twin is `MemoryPackageFolders`. */
export interface PackageFolders {
  /** Writes all members into a new folder of this name, or none; gives its path. Their names were checked. */
  unpack(name: string, members: readonly Member[]): Promise<string>;
  /** Unknown ones are fine. */
  remove(name: string): Promise<void>;
}

export class MemoryPackageFolders implements PackageFolders {
  readonly folders = new Map<string, readonly Member[]>();

  async unpack(name: string, members: readonly Member[]): Promise<string> {
    this.folders.set(name, members);
    return `/packages/${name}`;
  }

  async remove(name: string): Promise<void> {
    this.folders.delete(name);
  }
}
