import { asWhiprayError, type Clock, type Logger, type Timer, WhiprayError } from "@whipray/core";
import type { LentMemory, Segment, SegmentPlace, Segments } from "./segment.ts";
import type { SpillFiles } from "./spill-files.ts";
import type { StoreLimits } from "./store-limits.ts";
import { StoreTable } from "./store-table.ts";
import type { SealedAs, StoreAction, StoredObject, StoreStats } from "./stored-object.ts";

/** Spilling, restoring and copying go in steps of this size (Ray: 5 MiB). */
export const STORE_CHUNK_BYTES = 4_194_304;

export interface NodeStoreOptions {
  readonly limits: StoreLimits;
  readonly segments: Segments;
  readonly spill: SpillFiles;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** What a new object is. */
export interface NewObject {
  readonly object: string;
  readonly owner: string;
  readonly creator: string;
  readonly bytes: number;
  /** Another node has it too. */
  readonly copy?: boolean;
  /** For whatever its creator writes next: refused unless there is plenty of room. */
  readonly spare?: boolean;
  /** False: who asks can do without, and does not wait for others to let go. Default true. */
  readonly patient?: boolean;
}

/** An object that its reader may map. */
export interface Attached {
  readonly place: SegmentPlace;
  readonly bytes: number;
}

/** Asks a reader to unmap what he does not reach any more: of these objects, or (none named) of all. */
export type LetGo = (holder: string, objects: readonly string[]) => void;

interface Asking {
  resolve(segment: number, bytes: number): void;
  reject(error: unknown): void;
}

/** The object store of a node: the table decides, this carries out. */
export class NodeStore {
  readonly #options: NodeStoreOptions;
  readonly #table: StoreTable;
  readonly #segments = new Map<number, Segment>();
  readonly #asking = new Map<number, Asking>();
  /** The last file operation of each object: the next one waits for it. */
  readonly #files = new Map<string, Promise<void>>();
  #tickets = 0;
  #timer: { at: number; timer: Timer } | undefined;
  #closed = false;
  #letGo: LetGo = () => {};

  constructor(options: NodeStoreOptions) {
    this.#options = options;
    this.#table = new StoreTable(options.limits);
  }

  /** Who asks readers, which are known by name alone here. */
  onLetGo(ask: LetGo): void {
    this.#letGo = ask;
  }

  get capacityBytes(): number {
    return this.#options.limits.capacityBytes;
  }

  get stats(): StoreStats {
    return this.#table.stats;
  }

  rows(): IterableIterator<Readonly<StoredObject>> {
    return this.#table.rows();
  }

  get(object: string): Readonly<StoredObject> | undefined {
    return this.#table.get(object);
  }

  /**
   * A segment for a new object, as soon as there is room; its creator writes and seals it.
   * @throws ObjectStoreFullError, OutOfDiskError, WhiprayError `OBJECT_EXISTS`, `SEGMENT_FAILED`.
   */
  async create(request: NewObject, signal?: AbortSignal): Promise<SegmentPlace> {
    const { segment } = await this.#ask(request.object, signal, (ticket, now) =>
      this.#table.create({ ...request, ticket }, now),
    );
    return this.#segment(segment).place;
  }

  /** @throws WhiprayError `INVALID_STATE` when the creator does not write it. */
  seal(object: string, creator: string, as?: SealedAs): void {
    this.#run(this.#table.seal(object, creator, this.#now(), as));
  }

  /**
   * Holds the object in memory for a reader, until `detach`. Waits until it is sealed and back from disk.
   * @throws ObjectLostError (`OBJECT_FREED`), ObjectStoreFullError when it cannot be brought back.
   */
  async attach(object: string, holder: string, signal?: AbortSignal): Promise<Attached> {
    const { segment, bytes } = await this.#ask(object, signal, (ticket, now) =>
      this.#table.attach(ticket, object, holder, now),
    );
    return { place: this.#segment(segment).place, bytes };
  }

  detach(object: string, holder: string): void {
    this.#run(this.#table.detach(object, holder, this.#now()));
  }

  free(object: string): void {
    this.#run(this.#table.free(object, this.#now()));
  }

  ownerGone(owner: string): void {
    this.#run(this.#table.ownerGone(owner, this.#now()));
  }

  holderGone(holder: string): void {
    this.#run(this.#table.holderGone(holder, this.#now()));
  }

  /** A range of an object that the caller has attached. */
  async read(object: string, offset: number, length: number): Promise<Uint8Array> {
    return this.#segmentOf(object).read(offset, length);
  }

  /** Writes a range of an object that the caller creates. */
  async write(object: string, offset: number, bytes: Uint8Array): Promise<void> {
    await this.#segmentOf(object).write(offset, bytes);
  }

  /** The memory of an object that the caller has attached, or creates: in place, without a copy. See `Segment.lend`. */
  lend(object: string): LentMemory {
    return this.#segmentOf(object).lend();
  }

  /** Gives up all memory and files; readers keep what they have mapped. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.timer.cancel();
    const closed = new WhiprayError({ code: "NODE_LEAVING", message: "The object store is closed" });
    for (const { reject } of this.#asking.values()) reject(closed);
    this.#asking.clear();
    await Promise.all(this.#files.values());
    for (const segment of this.#segments.values()) segment.discard(true);
    this.#segments.clear();
    await this.#options.spill.close();
  }

  #ask(
    object: string,
    signal: AbortSignal | undefined,
    start: (ticket: number, now: number) => StoreAction[],
  ): Promise<{ segment: number; bytes: number }> {
    signal?.throwIfAborted();
    if (this.#closed) throw new WhiprayError({ code: "NODE_LEAVING", message: "The object store is closed" });
    const ticket = ++this.#tickets;
    return new Promise((resolve, reject) => {
      const abort = (): void => {
        this.#asking.delete(ticket);
        this.#run(this.#table.cancel(ticket, object, this.#now()));
        reject(signal?.reason);
      };
      const done = (): void => signal?.removeEventListener("abort", abort);
      this.#asking.set(ticket, {
        resolve: (segment, bytes) => {
          done();
          resolve({ segment, bytes });
        },
        reject: (error) => {
          done();
          reject(error);
        },
      });
      signal?.addEventListener("abort", abort, { once: true });
      this.#run(start(ticket, this.#now()));
    });
  }

  #run(actions: readonly StoreAction[]): void {
    for (const action of actions) this.#do(action);
    this.#arm();
  }

  #do(action: StoreAction): void {
    switch (action.do) {
      case "grant":
        if (this.#make(action)) this.#answer(action.ticket)?.resolve(action.segment, 0);
        break;
      case "attached":
        this.#answer(action.ticket)?.resolve(action.segment, action.bytes);
        break;
      case "refuse":
        this.#answer(action.ticket)?.reject(action.error);
        break;
      case "spill":
        this.#file(action.object, () => this.#spill(action.object, this.#segment(action.segment), action.bytes));
        break;
      case "restore":
        if (this.#make(action))
          this.#file(action.object, () => this.#restore(action.object, this.#segment(action.segment)));
        break;
      case "erase":
        this.#file(action.object, () => this.#options.spill.erase(action.object));
        break;
      case "discard":
        this.#segments.get(action.segment)?.discard(action.mapped);
        this.#segments.delete(action.segment);
        break;
      case "letGo":
        this.#letGo(action.holder, action.objects);
        break;
      case "name": {
        const { object, bytes, holders } = action;
        this.#options.logger.warn("an object that its owner freed is still held", { object, bytes, holders });
      }
    }
  }

  #answer(ticket: number): Asking | undefined {
    const asking = this.#asking.get(ticket);
    this.#asking.delete(ticket);
    return asking;
  }

  /** Makes the segment if it is a fresh one. */
  #make(action: StoreAction & { do: "grant" | "restore" }): boolean {
    if (!action.fresh) return true;
    try {
      this.#segments.set(action.segment, this.#options.segments.make(action.segmentBytes));
      return true;
    } catch (error) {
      const why = asWhiprayError(error);
      this.#options.logger.error("no segment could be made", { bytes: action.segmentBytes, error: why.message });
      if (action.do === "grant") this.#answer(action.ticket)?.reject(why);
      this.#run(this.#table.makeFailed(action.object, why, this.#now()));
      return false;
    }
  }

  async #spill(object: string, segment: Segment, bytes: number): Promise<void> {
    try {
      await this.#options.spill.write(object, chunksOf(segment, bytes));
      this.#run(this.#table.spilled(object, this.#now()));
    } catch (error) {
      const reason = asWhiprayError(error).message;
      this.#options.logger.error("an object could not be spilled", { object, bytes, error: reason });
      this.#run(this.#table.spillFailed(object, reason, this.#now()));
    }
  }

  async #restore(object: string, segment: Segment): Promise<void> {
    try {
      let at = 0;
      for await (const chunk of this.#options.spill.read(object, STORE_CHUNK_BYTES)) {
        await segment.write(at, chunk);
        at += chunk.byteLength;
      }
      this.#run(this.#table.restored(object, this.#now()));
    } catch (error) {
      this.#run(this.#table.restoreFailed(object, asWhiprayError(error), this.#now()));
    }
  }

  #file(object: string, work: () => Promise<void>): void {
    const done = (this.#files.get(object) ?? Promise.resolve()).then(work).catch((error: unknown) => {
      this.#options.logger.error("a spill file", { object, error: String(error) });
    });
    this.#files.set(object, done);
    void done.then(() => {
      if (this.#files.get(object) === done) this.#files.delete(object);
    });
  }

  #arm(): void {
    const at = this.#table.nextTick();
    if (this.#timer?.at === at || this.#closed) return;
    this.#timer?.timer.cancel();
    this.#timer = undefined;
    if (at === undefined) return;
    const timer = this.#options.clock.after(Math.max(0, at - this.#now()), () => {
      this.#timer = undefined;
      this.#run(this.#table.tick(this.#now()));
    });
    this.#timer = { at, timer };
  }

  #now(): number {
    return this.#options.clock.now();
  }

  #segment(id: number): Segment {
    return this.#segments.get(id)!;
  }

  #segmentOf(object: string): Segment {
    const id = this.#table.get(object)?.segment;
    const segment = id === undefined ? undefined : this.#segments.get(id);
    if (segment) return segment;
    throw new WhiprayError({ code: "INVALID_STATE", message: `Object ${object} is not in memory` });
  }
}

async function* chunksOf(segment: Segment, bytes: number): AsyncIterable<Uint8Array> {
  for (let at = 0; at < bytes; at += STORE_CHUNK_BYTES)
    yield await segment.read(at, Math.min(STORE_CHUNK_BYTES, bytes - at));
}
