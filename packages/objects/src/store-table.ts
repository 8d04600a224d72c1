import { FreedViews, letGo } from "./freed-views.ts";
import { IdleObjects } from "./idle-objects.ts";
import { ObjectIndex } from "./object-index.ts";
import { SegmentPool } from "./segment-pool.ts";
import { sizeClass } from "./size-class.ts";
import { Spills } from "./spills.ts";
import {
  notWriting,
  objectExists,
  objectFreed,
  objectLost,
  otherSize,
  outOfDisk,
  storeFull,
  tooLarge,
} from "./store-errors.ts";
import type { StoreLimits } from "./store-limits.ts";
import {
  type CreateRequest,
  newObject,
  type RoomRequest,
  type SealedAs,
  type StoreAction,
  type StoredObject,
  type StoreStats,
  type Waiter,
} from "./stored-object.ts";

/**
 * The objects of one node: who may write, who reads, what is spilled, which segment is used again. Decides and does nothing: every
 * method gives the actions that follow. One object a segment; a segment is used again only when everybody who mapped it said that
 * he has unmapped it. Requests for room are served in order.
 */
export class StoreTable {
  readonly #limits: StoreLimits;
  readonly #objects = new ObjectIndex();
  readonly #pool: SegmentPool;
  readonly #idle = new IdleObjects();
  readonly #freed = new FreedViews();
  readonly #queue: RoomRequest[] = [];
  readonly #spills: Spills;
  #now = 0;
  #actions: StoreAction[] = [];

  constructor(limits: StoreLimits) {
    this.#limits = limits;
    this.#spills = new Spills(limits.diskBytes);
    this.#pool = new SegmentPool(limits.capacityBytes, limits.segments, (segment) => this.#discard(segment, false));
  }

  get stats(): StoreStats {
    const { usedBytes, idleBytes: pooledBytes } = this.#pool;
    const spilledBytes = this.#spills.usedBytes;
    const waiting = this.#queue.length;
    return { ...this.#objects.counts(), usedBytes, pooledBytes, spilledBytes, waiting };
  }

  rows(): IterableIterator<Readonly<StoredObject>> {
    return this.#objects.values();
  }

  get(object: string): Readonly<StoredObject> | undefined {
    return this.#objects.get(object);
  }

  /** Asks for a segment to write in. */
  create(request: CreateRequest, now: number): StoreAction[] {
    const { ticket, object: id, bytes, spare = false, patient = true } = request;
    return this.#change(now, () => {
      if (this.#objects.get(id)) this.#refuse(ticket, objectExists(id));
      else if (sizeClass(bytes) > this.#limits.capacityBytes) this.#refuse(ticket, tooLarge(bytes, this.#limits));
      else if (this.#objects.size >= this.#limits.objects || (spare && !this.#plenty(bytes))) {
        this.#refuse(ticket, this.#full(bytes));
      } else {
        const object = newObject(request);
        this.#objects.add(object);
        this.#queue.push({ object, ticket, patientUntil: now + (patient ? this.#limits.patienceMs : 0) });
      }
    });
  }

  /** The object is complete and will not change. @throws WhiprayError `INVALID_STATE`. */
  seal(id: string, creator: string, now: number, { bytes, owner }: SealedAs = {}): StoreAction[] {
    return this.#change(now, () => {
      const object = this.#objects.get(id);
      if (object?.state !== "writing" || object.creator !== creator) throw notWriting(id, creator);
      if (bytes !== undefined && sizeClass(bytes) !== sizeClass(object.bytes)) throw otherSize(id, bytes, object.bytes);
      object.bytes = bytes ?? object.bytes;
      if (owner !== undefined) this.#objects.changeOwner(object, owner);
      this.#sealed(object);
      this.#objects.letGo(creator, object);
    });
  }

  /** Asks to read; answered when the object is sealed and in memory. */
  attach(ticket: number, id: string, holder: string, now: number): StoreAction[] {
    return this.#change(now, () => {
      const object = this.#objects.get(id);
      if (!object || object.freed) this.#refuse(ticket, objectFreed(id));
      else if (object.state === "sealed" || object.state === "spilling") this.#pin(object, { ticket, holder });
      else {
        object.waiters.push({ ticket, holder });
        this.#objects.hold(holder, object);
        if (object.state === "spilled") {
          object.state = "restoring";
          this.#queue.push({ object, ticket: undefined, patientUntil: now + this.#limits.patienceMs });
        }
      }
    });
  }

  /** The holder has unmapped one attachment. More than he has is ignored: his session may have ended in between. */
  detach(id: string, holder: string, now: number): StoreAction[] {
    return this.#change(now, () => {
      const object = this.#objects.get(id);
      const count = object?.pins.get(holder) ?? 0;
      if (!object || count === 0) return;
      if (count > 1) object.pins.set(holder, count - 1);
      else {
        object.pins.delete(holder);
        this.#objects.letGo(holder, object);
      }
      this.#unpinned(object);
    });
  }

  /** Its owner does not need it any more; who reads it may read on. Unknown ones are fine. */
  free(id: string, now: number): StoreAction[] {
    return this.#change(now, () => this.#free(this.#objects.get(id)));
  }

  ownerGone(owner: string, now: number): StoreAction[] {
    return this.#change(now, () => {
      for (const object of this.#objects.ofOwner(owner)) this.#free(object);
    });
  }

  /** A process is out of reach: it reads and writes no more as far as we know, but may still have its segments mapped. */
  holderGone(holder: string, now: number): StoreAction[] {
    return this.#change(now, () => {
      for (const object of this.#objects.ofHolder(holder)) {
        for (const waiter of object.waiters.filter((one) => one.holder === holder)) this.#dropWaiter(object, waiter);
        if (object.pins.delete(holder)) {
          object.tainted = true;
          this.#objects.letGo(holder, object);
          this.#unpinned(object);
        }
        if (object.creator === holder && (object.state === "writing" || object.state === "waiting")) {
          object.tainted = true;
          this.#remove(object, objectLost(object.id, `${holder} ended while it wrote it`));
        }
      }
    });
  }

  /** Nobody waits for this answer any more. */
  cancel(ticket: number, id: string, now: number): StoreAction[] {
    return this.#change(now, () => {
      const object = this.#objects.get(id);
      const waiter = object?.waiters.find((one) => one.ticket === ticket);
      if (object && waiter) this.#dropWaiter(object, waiter);
      else if (object && this.#queue.some((request) => request.ticket === ticket))
        this.#remove(object, objectFreed(id));
    });
  }

  /** No segment could be made for this object. A create is answered by who tried. */
  makeFailed(id: string, error: Error, now: number): StoreAction[] {
    return this.#change(now, () => {
      const object = this.#objects.get(id);
      if (object?.segment === undefined) return;
      object.segment = undefined;
      this.#pool.lost(sizeClass(object.bytes));
      if (object.state === "restoring") this.#stayOnDisk(object, error);
      else this.#remove(object, error);
    });
  }

  spilled(id: string, now: number): StoreAction[] {
    return this.#change(now, () => {
      const object = this.#spillEnded(id);
      if (!object) return;
      // Read, or given up, while it was written: the file is of no use.
      if (object.freed || object.pins.size > 0) {
        this.#erase(object);
        this.#sealed(object);
      } else {
        this.#returnSegment(object);
        object.state = "spilled";
      }
    });
  }

  spillFailed(id: string, reason: string, now: number): StoreAction[] {
    return this.#change(now, () => {
      const object = this.#spillEnded(id);
      if (!object) return;
      this.#erase(object);
      this.#spills.failed(reason, now);
      this.#sealed(object);
    });
  }

  restored(id: string, now: number): StoreAction[] {
    return this.#change(now, () => {
      const object = this.#objects.get(id);
      if (object?.state !== "restoring") return;
      this.#erase(object);
      this.#sealed(object);
    });
  }

  /** The file cannot be read: the object is lost. */
  restoreFailed(id: string, error: Error, now: number): StoreAction[] {
    return this.#change(now, () => {
      const object = this.#objects.get(id);
      if (object?.state === "restoring") this.#remove(object, objectLost(id, error.message, error));
    });
  }

  /** Time passed: patience may be over, warm segments may be cold, freed objects may still be held. */
  tick(now: number): StoreAction[] {
    return this.#change(now, () => {
      this.#pool.expire(now, this.#limits.warmMs);
      this.#actions.push(...this.#freed.due(now));
    });
  }

  /** When `tick` has something to do. */
  nextTick(): number | undefined {
    const until = this.#queue[0]?.patientUntil ?? Infinity;
    // Beyond its patience a request waits for spills alone: their end is no matter of time.
    const patientUntil = until <= this.#now && this.#spills.comingBytes > 0 ? Infinity : until;
    const next = Math.min((this.#pool.idleSince ?? Infinity) + this.#limits.warmMs, patientUntil, this.#freed.next);
    return Number.isFinite(next) ? next : undefined;
  }

  #change(now: number, change: () => void): StoreAction[] {
    this.#now = now;
    change();
    while (this.#queue.length > 0 && this.#serveFirst());
    const actions = this.#actions;
    this.#actions = [];
    return actions;
  }

  /** Whether the first request that waits for room was answered. */
  #serveFirst(): boolean {
    const { object, ticket, patientUntil } = this.#queue[0]!;
    const { id, bytes, creator } = object;
    const segmentBytes = sizeClass(bytes);
    const room = this.#pool.take(segmentBytes, creator);
    if (room) {
      this.#queue.shift();
      object.segment = room.segment;
      object.tainted = false;
      if (ticket === undefined) this.#actions.push({ do: "restore", object: id, ...room, segmentBytes, bytes });
      else {
        object.state = "writing";
        this.#actions.push({ do: "grant", ticket, object: id, ...room, segmentBytes });
      }
      return true;
    }
    if (this.#makeRoom(this.#pool.short(segmentBytes))) return true;
    if (this.#now < patientUntil || this.#spills.comingBytes > 0) {
      if (this.#spills.comingBytes === 0) this.#press(this.#queue[0]!);
      return false;
    }
    const error = this.#full(bytes);
    if (ticket === undefined) {
      this.#queue.shift();
      this.#stayOnDisk(object, error);
    } else this.#remove(object, error);
    return true;
  }

  /** Room is needed that views take: perhaps nobody reaches them any more. */
  #press(request: RoomRequest): void {
    if (request.pressed) return;
    request.pressed = true;
    this.#actions.push(...letGo(this.#objects.readers()));
  }

  #plenty(bytes: number): boolean {
    return this.#queue.length === 0 && this.#pool.hasPlenty(sizeClass(bytes));
  }

  /** Drops a copy, or else starts to spill. True: something is free now. */
  #makeRoom(short: number): boolean {
    const copy = this.#idle.oldestCopy;
    if (copy) {
      this.#remove(copy, objectFreed(copy.id));
      return true;
    }
    for (const object of this.#idle.primaries) {
      if (this.#spills.comingBytes >= short || !this.#spills.start(object, this.#now)) break;
      this.#idle.delete(object);
      object.state = "spilling";
      this.#actions.push({ do: "spill", object: object.id, segment: object.segment!, bytes: object.bytes });
    }
    return false;
  }

  #full(bytes: number): Error {
    const { fullBecause, usedBytes } = this.#spills;
    if (fullBecause && this.#idle.hasPrimaries) return outOfDisk(bytes, usedBytes, this.#limits, fullBecause);
    return storeFull(bytes, this.#limits, this.#objects.holders());
  }

  #sealed(object: StoredObject): void {
    object.state = "sealed";
    for (const waiter of object.waiters.splice(0)) this.#pin(object, waiter);
    this.#unpinned(object);
  }

  #pin(object: StoredObject, { ticket, holder }: Waiter): void {
    object.pins.set(holder, (object.pins.get(holder) ?? 0) + 1);
    this.#objects.hold(holder, object);
    this.#idle.delete(object);
    this.#actions.push({ do: "attached", ticket, segment: object.segment!, bytes: object.bytes });
  }

  #unpinned(object: StoredObject): void {
    if (object.pins.size > 0 || object.state !== "sealed") return;
    if (object.freed) this.#remove(object, objectFreed(object.id));
    else this.#idle.add(object);
  }

  #free(object: StoredObject | undefined): void {
    if (!object || object.freed) return;
    object.freed = true;
    this.#idle.delete(object);
    this.#refuseWaiters(object, objectFreed(object.id));
    // With a segment somebody reads or writes it, or a file is being made of it: his end is its end.
    if (object.segment === undefined) this.#remove(object, objectFreed(object.id));
    else if (object.pins.size > 0) this.#freed.add(object, this.#now);
    else this.#unpinned(object);
  }

  /** For whoever asks later. */
  #stayOnDisk(object: StoredObject, error: Error): void {
    object.state = "spilled";
    this.#refuseWaiters(object, error);
  }

  #refuse(ticket: number, error: Error): void {
    this.#actions.push({ do: "refuse", ticket, error });
  }

  #refuseWaiters(object: StoredObject, error: Error): void {
    for (const waiter of [...object.waiters]) {
      this.#refuse(waiter.ticket, error);
      this.#dropWaiter(object, waiter);
    }
  }

  #dropWaiter(object: StoredObject, waiter: Waiter): void {
    object.waiters.splice(object.waiters.indexOf(waiter), 1);
    this.#objects.letGo(waiter.holder, object);
  }

  #spillEnded(id: string): StoredObject | undefined {
    const object = this.#objects.get(id);
    return object && this.#spills.ended(object) ? object : undefined;
  }

  #erase(object: StoredObject): void {
    this.#spills.erased(object);
    this.#actions.push({ do: "erase", object: object.id });
  }

  /** Takes it off the table; whoever waits for it gets `error`. Nobody reads it. */
  #remove(object: StoredObject, error: Error): void {
    const { state } = object;
    this.#idle.delete(object);
    this.#freed.delete(object);
    const at = this.#queue.findIndex((request) => request.object === object);
    const ticket = at < 0 ? undefined : this.#queue.splice(at, 1)[0]?.ticket;
    if (ticket !== undefined) this.#refuse(ticket, error);
    if (state === "spilled" || state === "restoring") this.#erase(object);
    this.#returnSegment(object);
    this.#refuseWaiters(object, error);
    this.#objects.remove(object);
  }

  #returnSegment(object: StoredObject): void {
    const { segment, creator, tainted } = object;
    if (segment === undefined) return;
    const bytes = sizeClass(object.bytes);
    object.segment = undefined;
    if (tainted) {
      this.#pool.lost(bytes);
      this.#discard(segment, true);
    } else this.#pool.giveBack(segment, bytes, creator, this.#now);
  }

  #discard(segment: number, mapped: boolean): void {
    this.#actions.push({ do: "discard", segment, mapped });
  }
}
