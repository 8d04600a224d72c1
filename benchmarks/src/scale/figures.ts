import { seededRandom } from "@whipray/core";
import { quantile } from "../statistics.ts";
import { Planner } from "./planner.ts";

/** Bundles of every group. */
export const BUNDLES = 8;
const GROUPS_PER_NODE = 1;
const ACTORS_PER_NODE = 10;
const ONE = 10_000;
/** Changes before those that count: the first ones compile. */
const WARM_CHANGES = 50;

/** Milliseconds of one decision. */
export interface Times {
  readonly p50: number;
  readonly p99: number;
  readonly samples: number;
}

/** What one size of cluster costs. */
export interface Figures {
  readonly nodes: number;
  readonly groups: number;
  readonly actors: number;
  /** A group of 8 bundles that finds a place, one that finds none, an actor, an actor inside of a group, and the head's tick. */
  readonly group: Times;
  readonly noRoom: Times;
  /** To say why a group waits. */
  readonly why: Times;
  readonly actor: Times;
  readonly inGroup: Times;
  readonly tick: Times;
  /** Of the process with the tables full: what it had before, and what the tables have added. Without sessions and the journal's file. */
  readonly memoryMb: number;
}

export function timesOf(ms: readonly number[]): Times {
  return { p50: quantile(ms, 0.5), p99: quantile(ms, 0.99), samples: ms.length };
}

/** The strictest first, so that all find a place; some six of ten devices are taken in the end. */
const ORDER = ["STRICT_SPREAD", "SPREAD", "STRICT_PACK", "PACK"] as const;

/** Most bundles share a device; one group in four that may lie anywhere wants whole ones. */
function groupOf(turn: number, of: number): [(typeof ORDER)[number], { CPU: number; GPU: number }[]] {
  const strategy = ORDER[Math.floor((turn * ORDER.length) / of)]!;
  const GPU = turn % 4 === 0 && !strategy.startsWith("STRICT") ? ONE : ONE / 2;
  return [strategy, Array.from({ length: BUNDLES }, () => ({ CPU: ONE, GPU }))];
}

/**
 * Fills a cluster of `nodes` with one group of 8 bundles and ten actors a node (1 000 groups and 10 000 actors at 1 000 nodes), of which half run
 * inside of groups, then replaces `changes` of each at random: those decisions are the samples. `gc` is Node's.
 */
export function measureScale(nodes: number, changes: number, gc: () => void = () => {}): Figures {
  const before = memoryOf(gc);
  const random = seededRandom(nodes);
  const planner = new Planner(nodes);
  for (let at = 0; at < nodes; at++) planner.addNode();
  const wanted = nodes * GROUPS_PER_NODE;
  const groups = filled(wanted, (turn) => {
    const { placed, pgId } = planner.addGroup(...groupOf(turn, wanted));
    return placed ? { pgId, turn, inside: [] as string[] } : undefined;
  });
  const half = (nodes * ACTORS_PER_NODE) / 2;
  const actors = filled(half, () => found(planner.addActor({ CPU: ONE })));
  for (let turn = 0; turn < half; turn++) {
    const group = groups[turn % groups.length]!;
    const actorId = found(planner.addActor({ CPU: ONE }, group.pgId));
    if (actorId !== undefined) group.inside.push(actorId);
  }
  const counts = { groups: groups.length, actors: actors.length + groups.flatMap(({ inside }) => inside).length };
  const times = {
    group: [] as number[],
    noRoom: [] as number[],
    why: [] as number[],
    actor: [] as number[],
    inGroup: [] as number[],
  };
  const huge = Array.from({ length: BUNDLES }, () => ({ CPU: 48 * ONE, GPU: 8 * ONE }));
  const tick: number[] = [];
  for (let change = -WARM_CHANGES; change < changes; change++) {
    if (change === 0) for (const list of [tick, ...Object.values(times)]) list.length = 0;
    const group = groups[random.below(groups.length)]!;
    for (const actorId of group.inside.splice(0)) planner.removeActor(actorId);
    planner.removeGroup(group.pgId);
    const again = planner.addGroup(...groupOf(group.turn, wanted));
    group.pgId = again.pgId;
    times.group.push(again.ms);
    if (again.placed) {
      for (let at = 0; at < BUNDLES / 2; at++) {
        const one = planner.addActor({ CPU: ONE }, again.pgId);
        times.inGroup.push(one.ms);
        if (one.placed) group.inside.push(one.actorId);
      }
    }
    const at = random.below(actors.length);
    planner.removeActor(actors[at]!);
    const one = planner.addActor({ CPU: ONE });
    actors[at] = one.actorId;
    times.actor.push(one.ms);
    const waits = planner.addGroup("PACK", huge);
    times.noRoom.push(waits.ms);
    times.why.push(waits.whyMs);
    tick.push(planner.tick());
  }
  planner.forgetLedgers();
  const memoryMb = (before.rss + Math.max(0, memoryOf(gc).used - before.used)) / 2 ** 20;
  planner.tick(); // the tables are needed until here
  const { group, noRoom, why, actor, inGroup } = times;
  return {
    ...{ nodes, ...counts, memoryMb, tick: timesOf(tick) },
    ...{
      group: timesOf(group),
      noRoom: timesOf(noRoom),
      why: timesOf(why),
      actor: timesOf(actor),
      inGroup: timesOf(inGroup),
    },
  };
}

function filled<T>(count: number, make: (turn: number) => T | undefined): T[] {
  return Array.from({ length: count }, (_, turn) => make(turn)).filter((one) => one !== undefined);
}

function found({ placed, actorId }: { placed: boolean; actorId: string }): string | undefined {
  return placed ? actorId : undefined;
}

function memoryOf(gc: () => void): { rss: number; used: number } {
  gc();
  const { rss, heapUsed, external } = process.memoryUsage();
  return { rss, used: heapUsed + external };
}
