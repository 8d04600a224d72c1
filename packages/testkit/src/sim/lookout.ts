import type { Raylet } from "@whipray/raylet";
import { type HeadSeen, headViolations, lateCalls, unconserved } from "./invariants.ts";
import { storeViolations } from "./object-rules.ts";
import type { SimRaylet } from "./sim-raylet.ts";
import type { SimCluster } from "./simulate.ts";

/** What the last look at a raylet went by: while it stays, nothing there can have become wrong. */
interface Seen {
  readonly raylet: Raylet;
  readonly counts: Raylet["counts"];
}

/**
 * Looks at a cluster after each of its events, so that nothing goes unseen that is wrong for a moment only. It looks into the tables themselves, and
 * at ledgers where something changed: rows for people would cost more than the events.
 */
export class Lookout {
  readonly #cluster: SimCluster;
  readonly #seen = new Map<SimRaylet, Seen>();

  constructor(cluster: SimCluster) {
    this.#cluster = cluster;
  }

  /** What is wrong now. */
  look(): string[] {
    const { history, raylets, clock } = this.#cluster;
    const nowMs = clock.now();
    const found = [...history.found];
    for (const raylet of raylets) {
      if (this.#changed(raylet)) found.push(...unconserved(raylet.look()!, history));
      const store = raylet.lookAtStore();
      if (store) found.push(...storeViolations(store));
    }
    const head = this.#head();
    if (head) {
      found.push(...headViolations(head, history));
      history.shown(head.actors, nowMs);
    }
    found.push(...lateCalls(history.open, nowMs));
    return found;
  }

  #changed(node: SimRaylet): boolean {
    const { raylet } = node;
    if (!raylet) return false;
    const { counts } = raylet;
    const seen = this.#seen.get(node);
    this.#seen.set(node, { raylet, counts });
    if (seen?.raylet !== raylet) return true;
    const { changes, running, actors, tasks } = seen.counts;
    return (
      changes !== counts.changes || running !== counts.running || actors !== counts.actors || tasks !== counts.tasks
    );
  }

  #head(): HeadSeen | undefined {
    const { head } = this.#cluster;
    const tables = head.alive ? head.head?.tables : undefined;
    if (!tables) return undefined;
    const { nodes, groups, actors } = tables;
    return {
      groups: groups.ids().map((pgId) => groups.record(pgId)!),
      actors: actors.ids().map((actorId) => actors.record(actorId)!),
      lives: (nodeId) => nodes.state(nodeId) !== "DEAD",
    };
  }
}
