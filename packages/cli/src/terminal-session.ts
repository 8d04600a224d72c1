import { asWhiprayError } from "@whipray/core";
import {
  TERMINAL_CHUNK_LIMIT_BYTES,
  type TerminalItem,
  type TerminalMode,
  terminalAttach,
  terminalDetach,
  terminalResize,
  terminalWrite,
} from "@whipray/rpc";
import { DETACH_KEY } from "./screen.ts";
import { droppedLine, type ViewOptions, viewerItems } from "./viewer-items.ts";

/** Keys that wait for the cluster; what is typed beyond is refused with a line. */
export const KEYS_WAITING_LIMIT_BYTES = 1_048_576;
const INTERRUPT_KEY = 0x03;
/** How long a goodbye may take; the end of our connection detaches too. */
const DETACH_TIMEOUT_MS = 1_000;

export interface TerminalSessionOptions extends ViewOptions {
  readonly mode: TerminalMode;
  readonly steal: boolean;
}

/** One viewer of a terminal: shows it, and types into it when it is the writer. */
export class TerminalSession {
  readonly #options: TerminalSessionOptions;
  readonly #left = Promise.withResolvers<undefined>();
  #mode: TerminalMode;
  #viewer: number | undefined;
  #waitingBytes = 0;
  #release = (): void => {};

  constructor(options: TerminalSessionOptions) {
    this.#options = options;
    this.#mode = options.mode;
  }

  /**
   * Until ctrl-], a signal, or the end of the process.
   * @throws WhiprayError what `terminal.attach` was refused with, among it `NO_TERMINAL` and `TERMINAL_BUSY`.
   */
  async run(): Promise<void> {
    const { process, screen, steal, mode, say } = this.#options;
    if (screen.left.aborted) this.#leave();
    screen.left.addEventListener("abort", () => this.#leave(), { once: true });
    screen.onResize(() => this.#resize());
    const ask = { process, mode, steal, who: screen.who, ...screen.size() };
    const items = viewerItems(this.#options, terminalAttach, ask, this.#left.promise);
    try {
      let step = await items.next();
      for (; !step.done; step = await items.next()) await this.#take(step.value);
      this.#release();
      say(step.value === undefined ? `\n[detached; ${process} goes on]` : `\n[${step.value}]`);
    } finally {
      this.#release();
      await items.return(undefined);
      await this.#detach();
    }
  }

  async #take({ viewer, process, mode, by, dropped, data }: TerminalItem): Promise<void> {
    const { screen, say } = this.#options;
    this.#mode = mode ?? this.#mode;
    if (viewer !== undefined) {
      this.#viewer = viewer;
      const keys = screen.interactive ? "; ctrl-] detaches" : "";
      say(`[${this.#mode === "write" ? "typing into" : "watching"} ${process}${keys}]`);
      if (screen.interactive) this.#release = screen.takeKeyboard((typed) => this.#onKeys(typed));
    }
    if (by !== undefined) say(`\n[${by} took the keyboard; you watch]`);
    if (dropped !== undefined) await screen.show(droppedLine(dropped));
    if (data) await screen.show(data);
  }

  #onKeys(keys: Uint8Array): void {
    const end = keys.indexOf(DETACH_KEY);
    const typed = end < 0 ? keys : keys.subarray(0, end);
    // Who only watches means himself.
    if (this.#mode === "watch" && typed.includes(INTERRUPT_KEY)) this.#leave();
    for (let at = 0; this.#mode === "write" && at < typed.length; at += TERMINAL_CHUNK_LIMIT_BYTES) {
      this.#type(typed.subarray(at, at + TERMINAL_CHUNK_LIMIT_BYTES));
    }
    if (end >= 0) this.#leave();
  }

  #type(data: Uint8Array): void {
    if (this.#waitingBytes + data.length > KEYS_WAITING_LIMIT_BYTES) {
      this.#options.say(`[${data.length} bytes were not typed: ${this.#waitingBytes} wait for the node]`);
      return;
    }
    this.#waitingBytes += data.length;
    const typed = this.#options.raylet.invoke(terminalWrite, { viewer: this.#viewer!, data });
    typed
      .catch((error: unknown) => this.#failed(error))
      .finally(() => {
        this.#waitingBytes -= data.length;
      });
  }

  #resize(): void {
    const { raylet, screen } = this.#options;
    const size = screen.size();
    if (!size || this.#viewer === undefined || this.#mode === "watch") return;
    raylet.invoke(terminalResize, { viewer: this.#viewer, ...size }).catch((error: unknown) => this.#failed(error));
  }

  #failed(error: unknown): void {
    // Too late: somebody took the keyboard, or the process ended. The stream tells of both.
    const { code, message } = asWhiprayError(error);
    if (code === "KEYS_NOT_READ") this.#options.say(`[${message}]`);
    else if (!["NOT_THE_WRITER", "NOT_FOUND"].includes(code)) this.#left.reject(error);
  }

  #leave(): void {
    this.#left.resolve(undefined);
  }

  async #detach(): Promise<void> {
    if (this.#viewer === undefined) return;
    const goodbye = this.#options.raylet.invoke(
      terminalDetach,
      { viewer: this.#viewer },
      { timeoutMs: DETACH_TIMEOUT_MS },
    );
    await goodbye.catch(() => {}); // the process may be gone, or the network
  }
}
