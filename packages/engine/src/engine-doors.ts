import { randomBytes } from "node:crypto";
import { dirname, join } from "node:path";
import type { Clock, IdSource } from "@whipray/core";
import type { Parts } from "@whipray/rpc";
import { removeDoor } from "./door-file.io.ts";
import { encodeHostRequest, HOST_METHODS } from "./host-methods.ts";

/** A way straight to an engine for one caller on this machine (PROTOCOL.md, "Doors"). */
export interface Door {
  /** The engine's own address. */
  readonly to: string;
  readonly url: string;
  readonly token: string;
}

/** The engine closes a door that nobody used after 10 s (`DOOR_MS`); what it could not remove goes after this. */
export const DOOR_KEPT_MS = 15_000;
/** A token of a door: 256 bits. */
const TOKEN_BYTES = 32;

interface DoorsOptions {
  readonly to: string;
  /** Socket of the launching process: doors lie beside it, where only this user may enter. */
  readonly socket: string;
  readonly ids: IdSource;
  readonly clock: Clock;
  ask(method: string, parts: Parts): Promise<Parts>;
}

/** The doors that one engine was asked to open. It removes them when they were used; whatever became of it, none of their files stays. */
export class EngineDoors {
  readonly #options: DoorsOptions;
  readonly #paths = new Set<string>();
  #ended = false;

  constructor(options: DoorsOptions) {
    this.#options = options;
  }

  async open(): Promise<Door> {
    const { to, socket, ids, clock, ask } = this.#options;
    const id = ids.next("call");
    const path = join(dirname(socket), `${id.slice(id.indexOf("_") + 1)}.door`);
    const token = randomBytes(TOKEN_BYTES).toString("hex");
    this.#paths.add(path);
    clock.after(DOOR_KEPT_MS, () => this.#remove(path));
    try {
      await ask(HOST_METHODS.openDoor, encodeHostRequest({ path, token }));
    } catch (error) {
      this.#remove(path);
      throw error;
    }
    if (this.#ended) this.#remove(path);
    return { to, url: `unix:${path}`, token };
  }

  /** The engine is gone. */
  end(): void {
    this.#ended = true;
    for (const path of this.#paths) this.#remove(path);
  }

  #remove(path: string): void {
    if (!this.#paths.delete(path)) return;
    removeDoor(path).catch(() => {}); // the node's folder goes with its raylet, and the file with it
  }
}
