import { readLayout } from "./layout.ts";
import type { SegmentMapper, SegmentPlace } from "./segment.ts";

interface View {
  readonly memory: WeakRef<ArrayBuffer>;
  readonly unmap: () => void;
}

/**
 * The objects that this process has mapped. All values of one object share its memory. A view ends with `release`, or when no
 * value of it can be reached any more; then `onDetached` tells the store.
 */
export class ObjectViews {
  readonly #mapper: SegmentMapper;
  readonly #onDetached: (object: string) => void;
  readonly #views = new Map<string, View>();
  readonly #objects = new WeakMap<ArrayBuffer, string>();
  readonly #collected = new FinalizationRegistry<{ object: string; view: View }>(({ object, view }) =>
    this.#end(object, view),
  );

  constructor(mapper: SegmentMapper, onDetached: (object: string) => void) {
    this.#mapper = mapper;
    this.#onDetached = onDetached;
  }

  /** Objects that are mapped. */
  get count(): number {
    return this.#views.size;
  }

  has(object: string): boolean {
    return this.#views.has(object);
  }

  /** The parts of an object that is mapped already. */
  find(object: string): Uint8Array[] | undefined {
    const memory = this.#views.get(object)?.memory.deref();
    return memory && readLayout(new Uint8Array(memory));
  }

  /**
   * Maps an object of `bytes` bytes that the store has attached for us.
   * @throws WhiprayError `SEGMENT_LOST`, `OBJECT_CORRUPT`; nothing is mapped then, and nothing detached.
   */
  open(object: string, place: SegmentPlace, bytes: number): Uint8Array[] {
    const { memory, unmap } = this.#mapper.readable(place, bytes);
    let parts: Uint8Array[];
    try {
      parts = readLayout(new Uint8Array(memory));
    } catch (error) {
      detach(memory);
      unmap();
      throw error;
    }
    const view: View = { memory: new WeakRef(memory), unmap };
    this.#views.set(object, view);
    this.#objects.set(memory, object);
    this.#collected.register(memory, { object, view }, view);
    return parts;
  }

  /** Detaches what was got of an object: its arrays have length 0 from now on. False when nothing is mapped. */
  release(object: string): boolean {
    const view = this.#views.get(object);
    if (!view) return false;
    const memory = view.memory.deref();
    if (memory) detach(memory);
    this.#collected.unregister(view);
    this.#end(object, view);
    return true;
  }

  /** The object whose memory this is. */
  objectOf(memory: ArrayBufferLike): string | undefined {
    return memory instanceof ArrayBuffer ? this.#objects.get(memory) : undefined;
  }

  /** Releases everything. */
  close(): void {
    for (const object of [...this.#views.keys()]) this.release(object);
  }

  #end(object: string, view: View): void {
    view.unmap();
    if (this.#views.get(object) === view) this.#views.delete(object);
    this.#onDetached(object);
  }
}

function detach(memory: ArrayBuffer): void {
  // Its own `transfer` is taken away (proc-mapper.io.ts).
  ArrayBuffer.prototype.transfer.call(memory, 0);
}
