import { WhiprayError } from "@whipray/core";
import { FLAG, type Frame } from "../frame.ts";
import { MAX_BODY_BYTES, MAX_MESSAGE_BYTES } from "../limits.ts";

/** Messages of one route whose chunks may be under way at once. */
export const ASSEMBLIES_LIMIT = 4_096;

interface Assembly {
  lengths: readonly number[];
  parts: Uint8Array[];
  /** Part being filled, and bytes it has. */
  part: number;
  filled: number;
  done: (parts: Uint8Array[]) => void;
}

/** Puts chunked messages of one route together. A message whose route breaks is forgotten and sent again whole. */
export class Assembler {
  readonly #assemblies = new Map<number, Assembly>();

  /** A CHUNKED frame announced a message. `done` gets its parts when the last byte is there. */
  begin(
    frame: Frame,
    fromCallee: boolean,
    lengths: readonly number[] | undefined,
    done: (parts: Uint8Array[]) => void,
  ): void {
    const total = lengths?.reduce((sum, length) => sum + length, 0) ?? 0;
    const key = keyOf(frame.sequence, fromCallee);
    if (
      !lengths ||
      total === 0 ||
      total > MAX_MESSAGE_BYTES ||
      lengths[0]! > MAX_BODY_BYTES ||
      this.#assemblies.has(key)
    ) {
      throw wrong(
        `A chunked message announces ${lengths ? `${total} bytes` : "no lengths"}, or while another of call ${frame.sequence} is under way`,
      );
    }
    if (this.#assemblies.size >= ASSEMBLIES_LIMIT)
      throw wrong(`More than ${ASSEMBLIES_LIMIT} chunked messages at once`);
    this.#assemblies.set(key, { lengths, parts: [], part: 0, filled: 0, done });
  }

  /** The bytes of a CHUNK frame. */
  chunk(frame: Frame): void {
    const key = keyOf(frame.sequence, (frame.flags & FLAG.FROM_CALLEE) !== 0);
    const assembly = this.#assemblies.get(key);
    if (!assembly) throw wrong(`A chunk of call ${frame.sequence}, which announced none`);
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
