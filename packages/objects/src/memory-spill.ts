import { WhiprayError } from "@whipray/core";
import type { SpillFiles } from "./spill-files.ts";

/** A disk in memory, for simulations and tests. */
export class MemorySpill implements SpillFiles {
  readonly files = new Map<string, Uint8Array>();
  /** Set it and writes fail with it. */
  full: WhiprayError | undefined;

  async write(object: string, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    if (this.full) throw this.full;
    const all: Uint8Array[] = [];
    for await (const chunk of chunks) all.push(chunk);
    this.files.set(object, Buffer.concat(all));
  }

  async *read(object: string, chunkBytes: number): AsyncIterable<Uint8Array> {
    const bytes = this.files.get(object);
    if (!bytes) throw new WhiprayError({ code: "SPILL_LOST", message: `There is no spill file of ${object}` });
    for (let at = 0; at < bytes.length; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes);
  }

  async erase(object: string): Promise<void> {
    this.files.delete(object);
  }

  async close(): Promise<void> {
    this.files.clear();
  }
}
