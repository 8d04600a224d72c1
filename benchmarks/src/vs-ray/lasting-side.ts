import { Side, type SideCommand } from "./side.ts";
import type { SideReply, SideRequest } from "./side-protocol.ts";

/** A side that is started anew for the next row when it died, or was killed because it did not answer: one row's failure is not that of all. */
export class LastingSide {
  readonly #command: SideCommand;
  #side: Side;
  /** The row in which it died: the rest of that row fails, too. */
  #diedIn: string | undefined;
  #closed = false;

  private constructor(command: SideCommand, side: Side) {
    this.#command = command;
    this.#side = side;
  }

  /** @throws Error as `Side.start`. */
  static async start(command: SideCommand): Promise<LastingSide> {
    return new LastingSide(command, await Side.start(command));
  }

  get facts(): Record<string, unknown> {
    return this.#side.facts;
  }

  async ask(request: SideRequest): Promise<SideReply> {
    const row = "row" in request ? request.row : request.end;
    if (this.#side.ended) {
      if ("end" in request || row === this.#diedIn || this.#closed) return { error: "the side died in this row" };
      try {
        this.#side = await Side.start(this.#command);
      } catch (error) {
        return { error: `it did not come up again: ${String(error)}` };
      }
    }
    const reply = await this.#side.ask(request);
    if (this.#side.ended) this.#diedIn = row;
    return reply;
  }

  close(): Promise<void> {
    this.#closed = true;
    return this.#side.close();
  }
}
