import type { NodeRoomRow } from "@whipray/rpc";
import type { NodeRoom } from "./placement/room.ts";

/** Nodes that left lately; who has not asked since the first of them gets the whole list. */
export const GONE_KEPT = 1_000;

interface Told {
  readonly room: NodeRoom;
  readonly row: NodeRoomRow;
  readonly version: number;
}

/** What `node.rooms` answers: all nodes, or those that changed since. */
export interface RoomNews {
  version: number;
  nodes?: NodeRoomRow[];
  changed?: NodeRoomRow[];
  gone?: string[];
}

/** The rooms of the cluster as raylets are told of them: a raylet that knows some is told what changed, and a node's row is made once a change. */
export class RoomTeller {
  readonly #rowOf: (room: NodeRoom) => NodeRoomRow;
  readonly #told = new Map<string, Told>();
  readonly #gone = new Map<string, number>();
  #version = 1;
  /** Versions before this one may lack nodes that left. */
  #since = 1;

  constructor(rowOf: (room: NodeRoom) => NodeRoomRow) {
    this.#rowOf = rowOf;
  }

  /** `rooms` is every node that lives; a room that did not change is the same object. `known`: the version that the asker has. */
  news(rooms: readonly NodeRoom[], known: number | undefined): RoomNews {
    this.#look(rooms);
    const version = this.#version;
    if (known === version) return { version };
    if (known === undefined || known < this.#since || known > version)
      return { version, nodes: rooms.map(({ nodeId }) => this.#told.get(nodeId)!.row) };
    const changed: NodeRoomRow[] = [];
    for (const { nodeId } of rooms) {
      const told = this.#told.get(nodeId)!;
      if (told.version > known) changed.push(told.row);
    }
    const gone = [...this.#gone].flatMap(([nodeId, at]) => (at > known ? [nodeId] : []));
    return { version, changed, gone };
  }

  #look(rooms: readonly NodeRoom[]): void {
    const version = this.#version + 1;
    let news = false;
    for (const room of rooms) {
      const { nodeId } = room;
      if (this.#told.get(nodeId)?.room === room) continue;
      this.#told.set(nodeId, { room, row: this.#rowOf(room), version });
      this.#gone.delete(nodeId);
      news = true;
    }
    if (this.#told.size > rooms.length) {
      const living = new Set(rooms.map(({ nodeId }) => nodeId));
      for (const nodeId of [...this.#told.keys()].filter((one) => !living.has(one))) {
        this.#told.delete(nodeId);
        this.#gone.set(nodeId, version);
        news = true;
      }
    }
    if (news) this.#version = version;
    while (this.#gone.size > GONE_KEPT) {
      const [nodeId, at] = this.#gone.entries().next().value!;
      this.#gone.delete(nodeId);
      this.#since = at;
    }
  }
}
