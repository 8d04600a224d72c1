import { type Clock, delay, type RandomSource, WhiprayError } from "@whipray/core";
import { MemorySpill, type SpillFiles } from "@whipray/objects";

/** What one spill file takes to be written, read or removed, at most. */
const FILE_MS = 30;

/** The disk under a simulated object store: it takes its time, and may be full. */
export class SimDisk implements SpillFiles {
  readonly #files = new MemorySpill();
  readonly #clock: Clock;
  readonly #random: RandomSource;

  constructor(clock: Clock, random: RandomSource) {
    this.#clock = clock;
    this.#random = random;
  }

  set full(full: boolean) {
    this.#files.full = full
      ? new WhiprayError({ code: "STORAGE_FULL", message: "the simulated disk is full", retryable: true })
      : undefined;
  }

  /** Objects that have a file. */
  get objects(): string[] {
    return [...this.#files.files.keys()];
  }

  async write(object: string, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    await this.#wait();
    await this.#files.write(object, chunks);
    await this.#wait();
  }

  async *read(object: string, chunkBytes: number): AsyncIterable<Uint8Array> {
    await this.#wait();
    yield* this.#files.read(object, chunkBytes);
  }

  async erase(object: string): Promise<void> {
    await this.#wait();
    await this.#files.erase(object);
  }

  close(): Promise<void> {
    return this.#files.close();
  }

  #wait(): Promise<void> {
    return delay(this.#clock, this.#random.next() * FILE_MS);
  }
}
