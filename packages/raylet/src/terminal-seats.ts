import { WhiprayError } from "@whipray/core";
import type { TerminalMode } from "@whipray/rpc";

/** Viewers that one process may have at a time. */
export const VIEWERS_LIMIT = 32;

/** One who looks at a terminal. */
export interface Seat {
  readonly viewer: number;
  /** For people. */
  readonly who: string;
}

/** Who may type into one terminal: one writer, the others watch. Pure. */
export class TerminalSeats {
  readonly #process: string;
  readonly #seats = new Map<number, Seat>();
  #writer: Seat | undefined;

  constructor(process: string) {
    this.#process = process;
  }

  get size(): number {
    return this.#seats.size;
  }

  get writer(): Seat | undefined {
    return this.#writer;
  }

  /**
   * Takes a seat. Gives the writer who has to watch from now on, if the keyboard was taken from one.
   * @throws WhiprayError `TERMINAL_BUSY` naming who types; `LIMIT`.
   */
  take(seat: Seat, mode: TerminalMode, steal: boolean): Seat | undefined {
    const holder = this.#writer;
    if (this.#seats.size >= VIEWERS_LIMIT) {
      const message = `${this.#process} has ${this.#seats.size} viewers; the limit is ${VIEWERS_LIMIT}`;
      throw new WhiprayError({ code: "LIMIT", message, details: { limit: VIEWERS_LIMIT } });
    }
    if (mode === "write" && holder && !steal) {
      throw new WhiprayError({
        code: "TERMINAL_BUSY",
        message: `${holder.who} types into ${this.#process}; watch it (--watch), or take the keyboard away (--steal)`,
        details: { process: this.#process, writer: holder.who },
      });
    }
    this.#seats.set(seat.viewer, seat);
    if (mode === "watch") return undefined;
    this.#writer = seat;
    return holder;
  }

  /** Leaves its seat; the keyboard is free when it was the writer's. */
  leave(viewer: number): void {
    this.#seats.delete(viewer);
    if (this.#writer?.viewer === viewer) this.#writer = undefined;
  }

  /** @throws WhiprayError `NOT_THE_WRITER` naming who is. */
  requireWriter(viewer: number): void {
    if (this.#writer?.viewer === viewer) return;
    const holder = this.#writer ? `${this.#writer.who} does` : "nobody does";
    throw new WhiprayError({
      code: "NOT_THE_WRITER",
      message: `This viewer watches ${this.#process} and does not type; ${holder}`,
      details: { process: this.#process, writer: this.#writer?.who },
    });
  }
}
