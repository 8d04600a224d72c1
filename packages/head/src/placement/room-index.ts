import { hybridScore } from "@whipray/core";
import { usedBeside } from "./actor-policy.ts";
import { allows, type BundleRequest, type PlaceRequest, shapeOf, sightOf } from "./request.ts";
import { lookAt, type NodeRoom, type Room, signatureOf } from "./room.ts";

/** Resource sets and label keys that kinds are kept for; the one that was asked for longest ago goes first. */
export const SIGHTS_LIMIT = 64;

/** Where placement looks. */
export interface Rooms {
  /** Every node, in the order in which they came. */
  all(): readonly NodeRoom[];
  get(nodeId: string): NodeRoom | undefined;
  /**
   * Enough of them for the same answer as from all: of nodes that `request` cannot tell apart the first, as many as it could use; without
   * those that hold none of its bundles. `fullness`: whoever asks also looks at how full nodes are, as the policy for actors does.
   */
  few(request: Pick<PlaceRequest, "bundles" | "keptNodeIds">, fullness?: boolean): readonly NodeRoom[];
  /** The same and, of those that hold none of its bundles, one of each kind: to say why there is no place. */
  kinds(request: Pick<PlaceRequest, "bundles" | "keptNodeIds">): readonly NodeRoom[];
  readonly size: number;
}

type Asked = Pick<PlaceRequest, "bundles" | "keptNodeIds">;

interface Entry {
  readonly node: NodeRoom;
  /** Never taken from. */
  readonly room: Room;
  readonly order: number;
  readonly total: NodeRoom;
}

/** The rooms of the cluster, found by what they have: a decision looks at kinds of nodes, not at nodes. A change costs its node only. */
export class RoomIndex implements Rooms {
  readonly #entries = new Map<string, Entry>();
  readonly #sights = new Map<string, Kinds>();
  #all: readonly NodeRoom[] | undefined;

  set(node: NodeRoom, total: NodeRoom, order: number): void {
    this.#changed(node.nodeId, { node, room: lookAt(node), order, total });
  }

  delete(nodeId: string): void {
    if (this.#entries.has(nodeId)) this.#changed(nodeId, undefined);
  }

  #changed(nodeId: string, entry: Entry | undefined): void {
    if (entry) this.#entries.set(nodeId, entry);
    else this.#entries.delete(nodeId);
    this.#all = undefined;
    for (const kinds of this.#sights.values()) kinds.stale.add(nodeId);
  }

  all(): readonly NodeRoom[] {
    this.#all ??= [...this.#entries.values()].sort((a, b) => a.order - b.order).map(({ node }) => node);
    return this.#all;
  }

  get(nodeId: string): NodeRoom | undefined {
    return this.#entries.get(nodeId)?.node;
  }

  get size(): number {
    return this.#entries.size;
  }

  few(request: Asked, fullness = false, instead: ReadonlyMap<string, NodeRoom> = NONE): readonly NodeRoom[] {
    return this.#chosen(request, fullness, instead, 0);
  }

  kinds(request: Asked, instead: ReadonlyMap<string, NodeRoom> = NONE): readonly NodeRoom[] {
    // One that holds a bundle of the group already may not stand for its likes.
    return this.#chosen(request, false, instead, 1 + request.keptNodeIds.length);
  }

  /** `useless`: how many of a kind that holds none of the bundles. */
  #chosen(
    { bundles, keptNodeIds }: Asked,
    fullness: boolean,
    instead: ReadonlyMap<string, NodeRoom>,
    useless: number,
  ): readonly NodeRoom[] {
    const shapes = [...new Map(bundles.map((bundle) => [shapeOf(bundle), bundle])).values()];
    const usable = (room: Room): boolean => shapes.some((bundle) => allows(room, bundle));
    const found: Entry[] = [];
    const count = bundles.length + keptNodeIds.length;
    for (const members of this.#kinds(bundles, fullness).members()) {
      let left = usable(members[0]!.room) ? count : useless;
      for (const entry of members) {
        if (left === 0) break;
        if (instead.has(entry.node.nodeId)) continue;
        found.push(entry);
        left--;
      }
    }
    const others = new Set([...keptNodeIds, ...instead.keys()]);
    const seen = new Set(others.size === 0 ? [] : found.map(({ node }) => node.nodeId));
    for (const nodeId of others) {
      const entry = this.#entries.get(nodeId);
      if (!entry || seen.has(nodeId)) continue;
      const node = instead.get(nodeId) ?? entry.node;
      found.push(node === entry.node ? entry : { ...entry, node });
    }
    return found.sort((a, b) => a.order - b.order).map(({ node }) => node);
  }

  #kinds(bundles: readonly BundleRequest[], fullness: boolean): Kinds {
    const sight = sightOf(bundles);
    const key = `${fullness} ${sight.key}`;
    const kinds = this.#sights.get(key) ?? new Kinds(sight, fullness, this.#entries.keys());
    this.#sights.delete(key);
    this.#sights.set(key, kinds);
    if (this.#sights.size > SIGHTS_LIMIT) this.#sights.delete(this.#sights.keys().next().value!);
    kinds.refresh(this.#entries);
    return kinds;
  }
}

const NONE: ReadonlyMap<string, NodeRoom> = new Map();

/** Nodes that look the same to whoever sees only some resources and labels. */
class Kinds {
  readonly stale: Set<string>;
  readonly #sight: ReturnType<typeof sightOf>;
  readonly #fullness: boolean;
  readonly #where = new Map<string, { kind: string; entry: Entry }>();
  readonly #members = new Map<string, Entry[]>();

  constructor(sight: ReturnType<typeof sightOf>, fullness: boolean, nodeIds: Iterable<string>) {
    this.#sight = sight;
    this.#fullness = fullness;
    this.stale = new Set(nodeIds);
  }

  members(): Iterable<readonly Entry[]> {
    return this.#members.values();
  }

  refresh(entries: ReadonlyMap<string, Entry>): void {
    for (const nodeId of this.stale) {
      this.#remove(nodeId);
      const entry = entries.get(nodeId);
      if (entry) this.#add(entry);
    }
    this.stale.clear();
  }

  #add(entry: Entry): void {
    const { room, total, node } = entry;
    const kind = signatureOf(node, this.#sight) + (this.#fullness ? this.#fullnessOf(room, lookAt(total)) : "");
    const members = this.#members.get(kind) ?? [];
    if (members.length === 0) this.#members.set(kind, members);
    members.splice(placeOf(members, entry.order), 0, entry);
    this.#where.set(node.nodeId, { kind, entry });
  }

  /** Equal for nodes that the same request leaves equally full. */
  #fullnessOf(room: Room, total: Room): string {
    const { names } = this.#sight;
    return `${names.map((name) => total.amount(name))} ${hybridScore(usedBeside(room, total, names))}`;
  }

  #remove(nodeId: string): void {
    const known = this.#where.get(nodeId);
    if (!known) return;
    this.#where.delete(nodeId);
    const members = this.#members.get(known.kind)!;
    members.splice(placeOf(members, known.entry.order), 1);
    if (members.length === 0) this.#members.delete(known.kind);
  }
}

/** Of the first member that did not come before `order`. */
function placeOf(members: readonly Entry[], order: number): number {
  let low = 0;
  let high = members.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (members[middle]!.order < order) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Rooms of which some nodes have less than they seem to: what is held for others is not there. */
export class ReducedRooms implements Rooms {
  readonly #rooms: RoomIndex;
  readonly #instead: ReadonlyMap<string, NodeRoom>;

  constructor(rooms: RoomIndex, instead: ReadonlyMap<string, NodeRoom>) {
    this.#rooms = rooms;
    this.#instead = instead;
  }

  all(): readonly NodeRoom[] {
    return this.#rooms.all().map((node) => this.#instead.get(node.nodeId) ?? node);
  }

  get(nodeId: string): NodeRoom | undefined {
    return this.#instead.get(nodeId) ?? this.#rooms.get(nodeId);
  }

  get size(): number {
    return this.#rooms.size;
  }

  few(request: Asked, fullness?: boolean): readonly NodeRoom[] {
    return this.#rooms.few(request, fullness, this.#instead);
  }

  kinds(request: Asked): readonly NodeRoom[] {
    return this.#rooms.kinds(request, this.#instead);
  }
}
