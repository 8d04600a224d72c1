import { asWhiprayError, type Clock, type Timer } from "@whipray/core";
import { encodeStored, type IncomingCall, type Parts, type SegmentWire, type StoredWire, storedOf } from "@whipray/rpc";
import { decodeHostValue, encodeHostRequest, HOST_METHODS } from "./host-methods.ts";

/** The node's object store, as the process that launches engines uses it for them. */
export interface EngineStore {
  /** Keeps an object in memory until `unhold`. */
  hold(stored: StoredWire): Promise<{ segment: SegmentWire; bytes: number }>;
  unhold(id: string): void;
  /** Room for a result of `bytes`. @throws ObjectStoreFullError, OutOfDiskError. */
  room(
    bytes: number,
    owner: string,
  ): Promise<{ segment: SegmentWire; stored: StoredWire; seal(): void; giveUp(): void }>;
}

type AskHost = (method: string, parts: Parts) => Promise<Parts>;

/** Where results of an engine wait that are to be written into the store. */
const IN_ENGINE = "engine";
/** Arrays that an engine keeps are looked for again after this, then after twice as long, up to the second. */
const FIRST_LOOK_MS = 500;
const LONGEST_LOOK_MS = 30_000;

/** Large arguments and results of one engine: it maps the objects itself, and this process holds them for it. */
export class EngineObjects {
  readonly #store: () => Promise<EngineStore>;
  readonly #ask: AskHost;
  readonly #clock: Clock;
  /** By object: how often it is held, and how many calls with it are under way. */
  readonly #loans = new Map<string, { holds: number; calls: number }>();
  #look: Timer | undefined;
  #waitMs = FIRST_LOOK_MS;
  #ended = false;

  constructor(store: () => Promise<EngineStore>, ask: AskHost, clock: Clock) {
    this.#store = store;
    this.#ask = ask;
    this.#clock = clock;
  }

  /** The parts that go to the engine for arguments that lie in the store. The call that takes them ends with `returned`. */
  async lend(stored: StoredWire): Promise<Parts> {
    const { segment, bytes } = await this.#hold(stored);
    return encodeStored({ ...stored, bytes }, segment);
  }

  /** As `lend`, for one argument among others: the fields by which the engine maps it. */
  async lendOne(stored: StoredWire): Promise<unknown[]> {
    const { segment, bytes } = await this.#hold(stored);
    const { id, ownerAddress, ownerIncarnation, location } = stored;
    const { pid, fd, name } = segment;
    return [id, ownerAddress, ownerIncarnation, bytes, location, pid, fd, name, segment.bytes];
  }

  async #hold(stored: StoredWire): ReturnType<EngineStore["hold"]> {
    const held = await (await this.#store()).hold(stored);
    const loan = this.#loans.get(stored.id) ?? { holds: 0, calls: 0 };
    loan.holds++;
    loan.calls++;
    this.#loans.set(stored.id, loan);
    return held;
  }

  /** The call is over; what its arrays were is given back when the engine has dropped them. */
  returned(id: string | undefined): void {
    const loan = this.#loans.get(id ?? "");
    if (!loan) return;
    loan.calls--;
    this.#waitMs = FIRST_LOOK_MS;
    void this.#settle();
  }

  /** The reply to `incoming`: a result that waits in the engine is written into the store, or sent when that has no room. */
  async result(reply: Parts, incoming: IncomingCall): Promise<Parts> {
    const waiting = storedOf(reply);
    if (waiting?.location !== IN_ENGINE) return reply;
    const token = waiting.id;
    const { address, incarnation } = incoming.peer;
    try {
      const room = await (await this.#store()).room(waiting.bytes, `${address} ${incarnation}`);
      try {
        const { segment } = room;
        await this.#ask(HOST_METHODS.storeResult, encodeHostRequest({ token, segment }));
      } catch (error) {
        room.giveUp();
        throw error;
      }
      room.seal();
      return encodeStored(room.stored);
    } catch {
      // Whatever it was (no room, no mapping): as long as the engine lives it can send the result (reliability F39).
      return this.#ask(HOST_METHODS.sendResult, encodeHostRequest({ token }));
    }
  }

  /** The engine is gone, and with it what it had mapped. */
  end(): void {
    this.#ended = true;
    this.#look?.cancel();
    void this.#giveBack([...this.#loans.keys()]);
  }

  async #settle(): Promise<void> {
    const over = [...this.#loans].filter(([, { calls }]) => calls === 0).map(([id]) => id);
    if (over.length === 0 || this.#ended) return;
    try {
      const reply = await this.#ask(HOST_METHODS.held, encodeHostRequest({ ids: over }));
      const { held } = decodeHostValue(reply) as { held: string[] };
      const kept = new Set(held);
      // A call that came meanwhile may be about to map it.
      await this.#giveBack(over.filter((id) => !kept.has(id) && this.#loans.get(id)?.calls === 0));
      if (kept.size > 0) this.#lookAgain();
    } catch (error) {
      // Its end gives everything back; until then it may be busy.
      if (asWhiprayError(error).code !== "WORKER_CRASHED") this.#lookAgain();
    }
  }

  #lookAgain(): void {
    this.#look?.cancel();
    this.#look = this.#clock.after(this.#waitMs, () => void this.#settle());
    this.#waitMs = Math.min(2 * this.#waitMs, LONGEST_LOOK_MS);
  }

  async #giveBack(ids: readonly string[]): Promise<void> {
    for (const id of ids) {
      const { holds } = this.#loans.get(id) ?? { holds: 0 };
      this.#loans.delete(id);
      const store = await this.#store();
      for (let hold = 0; hold < holds; hold++) store.unhold(id);
    }
  }
}
