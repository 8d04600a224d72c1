import { WhiprayError } from "@whipray/core";
import { FLAG, type Frame, KIND } from "../frame.ts";
import { MAX_BODY_BYTES, MAX_MESSAGE_BYTES } from "../limits.ts";

/** Messages of one route whose chunks may be under way at once. */
export const ASSEMBLIES_LIMIT = 4_096;
/** Messages that a side asks to be gone on with after a cut, in each direction; what is above is sent again whole. */
export const PARTIALS_LIMIT = 1_024;

interface Assembly {
  readonly kind: number;
  readonly lengths: readonly number[];
  readonly parts: Uint8Array[];
  /** Part being filled, and bytes it has. */
  part: number;
  filled: number;
  done: (parts: Uint8Array[]) => void;
  /** Its route broke, and no frame has gone on with it. */
  waits: boolean;
}

/** Bytes that have come, by the sequence of the call. */
export type Partials = [number, number][];

/** What one side has of the other's messages that a cut broke off. */
export interface BrokenOff {
  calls: Partials;
  answers: Partials;
}

/** Puts the chunked messages of a session together. What a route broke off may go on over the next one. */
export class Assembler {
  readonly #assemblies = new Map<number, Assembly>();

  /**
   * A CHUNKED frame announced a message, of which the bytes before `at` came over an earlier route. `done` gets its parts when the
   * last byte is there.
   */
  begin(frame: Frame, lengths: readonly number[] | undefined, at: number, done: (parts: Uint8Array[]) => void): void {
    const total = lengths?.reduce((sum, length) => sum + length, 0) ?? 0;
    const key = keyOf(frame.sequence, frame.kind !== KIND.REQUEST);
    const known = this.#assemblies.get(key);
    if (
      !lengths ||
      total === 0 ||
      total > MAX_MESSAGE_BYTES ||
      lengths[0]! > MAX_BODY_BYTES ||
      (known !== undefined && !known.waits)
    ) {
      throw wrong(
        `A chunked message announces ${lengths ? `${total} bytes` : "no lengths"}, or while another of call ${frame.sequence} is under way`,
      );
    }
    if (at > 0) {
      if (known?.kind !== frame.kind || cameOf(known) !== at || String(known.lengths) !== String(lengths))
        throw wrong(`Call ${frame.sequence} goes on at byte ${at}, where it was not broken off`);
      known.done = done;
      known.waits = false;
      return;
    }
    if (this.#assemblies.size >= ASSEMBLIES_LIMIT && !known)
      throw wrong(`More than ${ASSEMBLIES_LIMIT} chunked messages at once`);
    this.#assemblies.set(key, { kind: frame.kind, lengths, parts: [], part: 0, filled: 0, done, waits: false });
  }

  /** The bytes of a CHUNK frame. */
  chunk(frame: Frame): void {
    const key = keyOf(frame.sequence, (frame.flags & FLAG.FROM_CALLEE) !== 0);
    const assembly = this.#assemblies.get(key);
    if (!assembly || assembly.waits) throw wrong(`A chunk of call ${frame.sequence}, which announced none`);
    let rest = frame.body;
    while (rest.length > 0) {
      skipFull(assembly);
      const length = assembly.lengths[assembly.part];
      if (length === undefined) throw wrong(`More bytes than call ${frame.sequence} announced`);
      // Memory is taken when its first byte arrives, never by the announcement alone.
      const part = assembly.parts[assembly.part] ?? new Uint8Array(length);
      assembly.parts[assembly.part] = part;
      const piece = rest.subarray(0, length - assembly.filled);
      part.set(piece, assembly.filled);
      assembly.filled += piece.length;
      rest = rest.subarray(piece.length);
    }
    skipFull(assembly);
    if (assembly.part < assembly.lengths.length) return;
    this.#assemblies.delete(key);
    assembly.done(assembly.parts);
  }

  /** The other side answers a call with something small after all. */
  forget(sequence: number): void {
    this.#assemblies.delete(keyOf(sequence, true));
  }

  /** What has come of calls, and of their answers. Items of streams are sent again whole. */
  partials(): BrokenOff {
    const calls: Partials = [];
    const answers: Partials = [];
    for (const [key, assembly] of this.#assemblies) {
      const list = assembly.kind === KIND.REQUEST ? calls : answers;
      const came = cameOf(assembly);
      if (assembly.kind !== KIND.ITEM && came > 0 && list.length < PARTIALS_LIMIT) list.push([Math.abs(key), came]);
    }
    return { calls, answers };
  }

  /** The route is gone. With the next one each message goes on where `partials` said, or comes again whole. */
  suspend(): void {
    for (const [key, assembly] of this.#assemblies) {
      if (assembly.kind === KIND.ITEM) this.#assemblies.delete(key);
      else assembly.waits = true;
    }
  }
}

function cameOf({ lengths, part, filled }: Assembly): number {
  let came = filled;
  for (let i = 0; i < part; i++) came += lengths[i]!;
  return came;
}

function skipFull(assembly: Assembly): void {
  while (assembly.part < assembly.lengths.length && assembly.filled === assembly.lengths[assembly.part]) {
    assembly.parts[assembly.part] ??= new Uint8Array(0);
    assembly.part++;
    assembly.filled = 0;
  }
}

function keyOf(sequence: number, fromCallee: boolean): number {
  return fromCallee ? -sequence : sequence;
}

function wrong(message: string): WhiprayError {
  return new WhiprayError({ code: "FRAME_PARTS", message });
}
