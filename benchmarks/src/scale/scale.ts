import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Figures, Times } from "./figures.ts";

const SIDE = fileURLToPath(new URL("./side.ts", import.meta.url));
const SIZES = [10, 100, 1_000, 5_000];
const CHANGES = 400;
/** What issue 4 expects at 1 000 nodes. */
const EXPECTED_NODES = 1_000;
const P99_LIMIT_MS = 5;
const MEMORY_LIMIT_MB = 200;

export interface Expectation {
  readonly name: string;
  readonly value: number;
  readonly atMost: number;
}

const DECISIONS = ["group", "noRoom", "actor", "inGroup"] as const;
const ROWS = [...DECISIONS, "why", "tick"] as const;
const WORDS: Readonly<Record<(typeof ROWS)[number], string>> = {
  group: "group of 8 bundles",
  noRoom: "group that finds no room",
  actor: "actor",
  inGroup: "actor in a group",
  why: "why a group waits",
  tick: "tick of the head",
};

/** `npm run bench -- scale`: what decisions and memory cost, and how both grow with the cluster. */
export function scale(sizes = SIZES, changes = CHANGES): Figures[] {
  return sizes.map((nodes) => {
    const output = execFileSync(process.execPath, ["--expose-gc", SIDE, String(nodes), String(changes)]);
    return JSON.parse(output.toString()) as Figures;
  });
}

/** What issue 4 expects, of the sizes that were measured. */
export function expectations(all: readonly Figures[]): Expectation[] {
  const list: Expectation[] = [];
  const large = all.find(({ nodes }) => nodes === EXPECTED_NODES);
  if (large) {
    for (const kind of DECISIONS)
      list.push({ name: `${WORDS[kind]}: p99 in ms at 1 000 nodes`, value: large[kind].p99, atMost: P99_LIMIT_MS });
    list.push({ name: "memory in MB at 1 000 nodes", value: large.memoryMb, atMost: MEMORY_LIMIT_MB });
  }
  const [first, last] = [all[0], all.at(-1)];
  if (first && last && last.nodes > first.nodes) {
    const name = `group of 8 bundles: growth of p50 from ${first.nodes} to ${last.nodes} nodes`;
    list.push({ name, value: last.group.p50 / first.group.p50, atMost: last.nodes / first.nodes });
  }
  return list;
}

export function holdsUp({ value, atMost }: Expectation): boolean {
  return value <= atMost;
}

/** As people read it. */
export function table(all: readonly Figures[]): string[] {
  const row = (name: string, cells: readonly string[]): string =>
    name.padEnd(34) + cells.map((cell) => cell.padStart(18)).join("");
  const times = (kind: keyof typeof WORDS): string =>
    row(
      `${WORDS[kind]}, ms`,
      all.map((one) => showTimes(one[kind])),
    );
  return [
    row(
      "nodes",
      all.map(({ nodes }) => String(nodes)),
    ),
    row(
      "groups, actors",
      all.map(({ groups, actors }) => `${groups}, ${actors}`),
    ),
    ...ROWS.map(times),
    row(
      "memory, MB",
      all.map(({ memoryMb }) => memoryMb.toFixed(0)),
    ),
    "(times: p50 / p99 of one decision)",
    ...expectations(all).map(
      (one) => `${one.name}: ${one.value.toFixed(2)} (at most ${one.atMost}: ${holdsUp(one) ? "yes" : "NO"})`,
    ),
  ];
}

function showTimes({ p50, p99 }: Times): string {
  return `${p50.toFixed(3)} / ${p99.toFixed(3)}`;
}
