/** Objects on disk. The in-memory twin is `MemorySpill`. */
export interface SpillFiles {
  write(object: string, chunks: AsyncIterable<Uint8Array>): Promise<void>;
  read(object: string, chunkBytes: number): AsyncIterable<Uint8Array>;
  /** A missing file is fine. */
  erase(object: string): Promise<void>;
  /** Removes all files. */
  close(): Promise<void>;
}
