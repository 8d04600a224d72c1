import { readdirSync } from "node:fs";
import { read } from "../marked.ts";

/** /proc counts in hundredths of a second on every Linux that Node runs on. */
const TICK_MS = 10;

/** Processor time that a process and all that it started, and that lives, have used. */
export function familyCpuMs(root: number): number {
  const children = new Map<number, number[]>();
  const used = new Map<number, number>();
  for (const name of readdirSync("/proc").filter((one) => /^\d+$/.test(one))) {
    const stat = read(`/proc/${name}/stat`);
    // The command may hold spaces and brackets: fields are counted from its last bracket.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const [parent, user, system] = [Number(fields[1]), Number(fields[11]), Number(fields[12])];
    if (!Number.isFinite(parent)) continue;
    used.set(Number(name), (user + system) * TICK_MS);
    children.set(parent, [...(children.get(parent) ?? []), Number(name)]);
  }
  let total = 0;
  for (const family = [root]; family.length > 0; ) {
    const pid = family.pop()!;
    total += used.get(pid) ?? 0;
    family.push(...(children.get(pid) ?? []));
  }
  return total;
}
