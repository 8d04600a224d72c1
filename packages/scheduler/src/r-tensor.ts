import { DTYPE_BYTES, type Dtype, type ObjectRefWire, type Tensor, TO_WIRE, type TypedArray } from "@whipray/rpc";
import { SchedulerError } from "./errors.ts";

/** How ids of tensors begin that stay on their engine; dtype and shape follow: `rtensor_k3x9ab2c_7:f4:2x3`. */
const ID = /^rtensor_[a-z0-9]+_\d+:([a-z]+\d*):((?:\d+(?:x\d+)*)?)$/;

/** The engine that has a tensor, as a scheduler reaches it. */
export interface TensorOwner {
  readonly workerId: string;
  /** Name of its RPC server's actor: other workers fetch there. */
  readonly serverName: string;
  fetch(ids: readonly string[], options?: FetchOptions): Promise<unknown[]>;
  clear(ids?: readonly string[]): Promise<ClearedTensors>;
}

export interface FetchOptions {
  /** Longest wait. Default 3 600 000 (AReaL). */
  timeoutMs?: number;
  signal?: AbortSignal;
}

/** What a clear freed. */
export interface ClearedTensors {
  readonly cleared: number;
  readonly bytes: number;
}

/**
 * A tensor that stays on the engine that made it (AReaL: RTensor); this is only its meta data. It comes from a call with `remote`. As
 * an argument of another call it is fetched by that worker from its owner, and does not pass through here. Freed by
 * `clearTensors`, `await using`, its engine's `destroy` or end.
 */
export class RTensor implements AsyncDisposable {
  readonly workerId: string;
  readonly id: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly byteLength: number;
  readonly #wire: ObjectRefWire;
  readonly #owner: TensorOwner;

  constructor(owner: TensorOwner, wire: ObjectRefWire) {
    const meta = tensorMeta(wire.id);
    if (!meta) throw new SchedulerError({ code: "INVALID_ARGUMENT", message: `${wire.id} is no id of a tensor` });
    this.workerId = owner.workerId;
    this.id = wire.id;
    this.dtype = meta.dtype;
    this.shape = meta.shape;
    this.byteLength = meta.shape.reduce((product, size) => product * size, DTYPE_BYTES[meta.dtype]);
    this.#wire = wire;
    this.#owner = owner;
  }

  /** Who has it. */
  get owner(): TensorOwner {
    return this.#owner;
  }

  /** Its address on the wire: `node/engine`. */
  get ownerAddress(): string {
    return this.#wire.ownerAddress;
  }

  /** The tensor itself, once more at each call. @throws RTensorError when it was freed or its engine is gone. */
  async fetch(options?: FetchOptions): Promise<Tensor | TypedArray> {
    return (await this.#owner.fetch([this.id], options))[0] as Tensor | TypedArray;
  }

  /** Frees it on its engine. Again is fine, also when the engine is gone. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owner.clear([this.id]);
  }

  [TO_WIRE](): ObjectRefWire {
    sent?.push(this);
    return this.#wire;
  }

  toString(): string {
    return `RTensor(${this.dtype} [${this.shape.join(", ")}] on ${this.workerId})`;
  }
}

let sent: RTensor[] | undefined;

/** What `encode` makes, and the remote tensors that it met: their encoding tells, without a walk through all arguments before it. */
export function withRTensors<T>(encode: () => T): { encoded: T; rTensors: RTensor[] } {
  const rTensors: RTensor[] = [];
  const before = sent;
  sent = rTensors;
  try {
    return { encoded: encode(), rTensors };
  } finally {
    sent = before;
  }
}

/** dtype and shape that an id names; undefined for ids of other objects. */
export function tensorMeta(id: string): { dtype: Dtype; shape: number[] } | undefined {
  const [, dtype, shape] = ID.exec(id) ?? [];
  if (dtype === undefined || shape === undefined || !Object.hasOwn(DTYPE_BYTES, dtype)) return undefined;
  return { dtype: dtype as Dtype, shape: shape === "" ? [] : shape.split("x").map(Number) };
}
