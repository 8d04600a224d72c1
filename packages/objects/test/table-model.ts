import { expect } from "vitest";
import { type StoreAction, type StoreLimits, type StoreTable, sizeClass } from "../src/index.ts";

interface Asked {
  readonly object: string;
  readonly what: "create" | "attach";
  readonly process: string;
  readonly bytes: number;
}

interface ModelSegment {
  readonly bytes: number;
  object: string | undefined;
  writer: string | undefined;
  /** Who may look at it: attachments that were not given back, also of processes that are out of reach. */
  readonly mapped: string[];
}

/** What happens when a table's actions are carried out, and what must hold whatever happens. */
export class TableModel {
  readonly #limits: StoreLimits;
  readonly segments = new Map<number, ModelSegment>();
  readonly files = new Set<string>();
  readonly asked = new Map<number, Asked>();
  readonly diskWork: (StoreAction & { do: "spill" | "restore" })[] = [];
  readonly #fileBytes = new Map<string, number>();
  /** Kinds of actions that came. */
  readonly seen = new Set<string>();
  #tickets = 0;

  constructor(limits: StoreLimits) {
    this.#limits = limits;
  }

  asks(object: string, what: Asked["what"], process: string, bytes = 0): number {
    this.asked.set(++this.#tickets, { object, what, process, bytes });
    return this.#tickets;
  }

  apply(actions: readonly StoreAction[]): void {
    for (const action of actions) {
      this.seen.add(action.do);
      switch (action.do) {
        case "grant": {
          const asked = this.#answered(action.ticket);
          expect(asked?.object).toBe(action.object);
          this.#use(action).writer = asked?.process;
          break;
        }
        case "restore":
          expect(this.files).toContain(action.object);
          this.#use(action);
          this.diskWork.push(action);
          break;
        case "attached": {
          const asked = this.#answered(action.ticket);
          const segment = this.segments.get(action.segment);
          expect(segment?.object).toBe(asked?.object);
          segment?.mapped.push(asked!.process);
          break;
        }
        case "refuse":
          expect(action.error).toBeInstanceOf(Error);
          this.#answered(action.ticket);
          break;
        case "spill": {
          const segment = this.segments.get(action.segment);
          expect(segment?.object).toBe(action.object);
          expect(segment?.mapped.filter((holder) => !holder.startsWith("gone "))).toEqual([]);
          expect(this.#fileBytes).not.toContain(action.object);
          this.#fileBytes.set(action.object, action.bytes);
          this.diskWork.push(action);
          break;
        }
        case "erase":
          expect(this.#fileBytes.has(action.object)).toBe(true);
          this.#fileBytes.delete(action.object);
          this.files.delete(action.object);
          break;
        case "discard": {
          const segment = this.segments.get(action.segment);
          expect(segment).toBeDefined();
          // Memory that somebody may look at is not taken away under him.
          if (!action.mapped) expect(segment?.mapped).toEqual([]);
          this.segments.delete(action.segment);
          break;
        }
        case "letGo":
        case "name":
          // Whom nobody answers for is not asked.
          for (const holder of action.do === "name" ? action.holders : [action.holder])
            expect([...this.segments.values()].some(({ mapped }) => mapped.includes(holder))).toBe(true);
      }
    }
  }

  sealed(object: string): void {
    for (const segment of this.segments.values()) if (segment.object === object) segment.writer = undefined;
  }

  unmapped(object: string, holder: string): void {
    for (const segment of this.segments.values()) {
      const at = segment.object === object ? segment.mapped.indexOf(holder) : -1;
      if (at >= 0) segment.mapped.splice(at, 1);
    }
  }

  /** It does not answer; what it has mapped it may go on reading. */
  holderGone(holder: string): void {
    for (const { mapped, writer } of this.segments.values()) {
      if (writer === holder) mapped.push(`gone ${holder}`);
      for (const [at, one] of mapped.entries()) if (one === holder) mapped[at] = `gone ${holder}`;
    }
    for (const [ticket, { process }] of this.asked) if (process === holder) this.asked.delete(ticket);
  }

  /** One file operation under way ends. */
  diskStep(table: StoreTable, nth: number, fails: boolean, now: number): StoreAction[] {
    const [work] = this.diskWork.splice(Math.min(nth, this.diskWork.length - 1), 1);
    if (!work) return [];
    if (work.do === "spill") {
      if (fails) return table.spillFailed(work.object, "no space left on device", now);
      this.files.add(work.object);
      return table.spilled(work.object, now);
    }
    if (fails) return table.restoreFailed(work.object, new Error("input/output error"), now);
    return table.restored(work.object, now);
  }

  check(table: StoreTable): void {
    const { usedBytes, pooledBytes, spilledBytes } = table.stats;
    const total = [...this.segments.values()].reduce((sum, { bytes }) => sum + bytes, 0);
    expect(usedBytes + pooledBytes).toBe(total);
    expect(total).toBeLessThanOrEqual(this.#limits.capacityBytes);
    expect(this.segments.size).toBeLessThanOrEqual(this.#limits.segments);
    const onDisk = [...this.#fileBytes.values()].reduce((sum, bytes) => sum + bytes, 0);
    expect(spilledBytes).toBe(onDisk);
    expect(onDisk).toBeLessThanOrEqual(this.#limits.diskBytes);
    const inUse = [...table.rows()].map(({ segment }) => segment).filter((segment) => segment !== undefined);
    expect(new Set(inUse).size).toBe(inUse.length);
    let used = 0;
    for (const { id, segment, bytes } of table.rows()) {
      if (segment === undefined) continue;
      expect(this.segments.get(segment)?.object).toBe(id);
      used += sizeClass(bytes);
    }
    expect(usedBytes).toBe(used);
  }

  #use({ segment, fresh, object, segmentBytes }: StoreAction & { do: "grant" | "restore" }): ModelSegment {
    const known = this.segments.get(segment);
    expect(known === undefined).toBe(fresh);
    if (known) {
      expect(known.bytes).toBe(segmentBytes);
      // Nobody looks at it, and nobody who is out of reach may.
      expect(known.mapped).toEqual([]);
    }
    const used: ModelSegment = { bytes: segmentBytes, object, writer: undefined, mapped: [] };
    this.segments.set(segment, used);
    return used;
  }

  #answered(ticket: number): Asked | undefined {
    const asked = this.asked.get(ticket);
    this.asked.delete(ticket);
    return asked;
  }
}
