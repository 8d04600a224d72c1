import type { NodeSnapshot, Snapshot } from "./invariants.ts";

/** Reasons of a wait that is for room, not for an event that was lost. */
const GROUP_WAITS = /^needs |^held back for |^STRICT_/;
const ACTOR_WAITS = /^busy: |^placement group .* bundle \d+ has no place|could hold it is in use/;

/** What differs between head and raylets, and who is stuck, once nothing has gone wrong for a while. Pure. */
export function disagreements({ head, nodes, history }: Snapshot): string[] {
  if (!head) return ["no head listens"];
  const found: string[] = [];
  const alive = head.nodes.filter((node) => node.state === "ALIVE").map((node) => node.nodeId);
  differ(
    "nodes that are alive",
    alive,
    nodes.map((node) => node.nodeId),
    found,
  );
  for (const node of nodes) {
    const bundles = head.groups.flatMap(({ pgId, bundles }) =>
      bundles.flatMap((one) => (one.nodeId === node.nodeId ? [`${pgId} ${one.index} committed`] : [])),
    );
    differ(`bundles of ${node.nodeId}`, bundles, node.bundles.map(showBundle), found);
    const actors = head.actors.flatMap(({ actorId, epoch, nodeId, address, state }) =>
      state === "ALIVE" && nodeId === node.nodeId ? [`${actorId} ${epoch} ${address}`] : [],
    );
    differ(`actors of ${node.nodeId}`, actors, node.actors.map(showActor), found);
    if (node.leases !== node.actors.length)
      found.push(`${node.nodeId} has ${node.leases} leases for ${node.actors.length} actors`);
    if (node.tasks > 0) found.push(`${node.nodeId} has ${node.tasks} leases for tasks that are over`);
  }
  const living = head.actors
    .filter((actor) => actor.state === "ALIVE")
    .map(({ actorId, epoch }) => `${actorId} ${epoch}`);
  const processes = history.lives
    .filter((life) => life.to === undefined)
    .map(({ actorId, epoch }) => `${actorId} ${epoch}`);
  differ("actors in processes", living, processes, found);
  for (const { pgId, state, reasons } of head.groups) {
    if (state === "CREATED" ? reasons.length > 0 : reasons.length === 0)
      found.push(`${pgId} is ${state} with ${reasons.length} reasons`);
    for (const { text } of reasons) if (!GROUP_WAITS.test(text)) found.push(`${pgId} is ${state}: ${text}`);
    if (!["PENDING", "CREATED", "RESCHEDULING"].includes(state)) found.push(`${pgId} is ${state}`);
  }
  for (const { actorId, state, waiting } of head.actors) {
    if (waiting !== undefined && !ACTOR_WAITS.test(waiting)) found.push(`${actorId} is ${state}: ${waiting}`);
  }
  const open = history.calls.filter((call) => call.endedAtMs === undefined);
  if (open.length > 0) found.push(`${open.length} calls have no end: ${open.map((call) => call.token).join(", ")}`);
  return found;
}

function showBundle({ pgId, index, committed }: NodeSnapshot["bundles"][number]): string {
  return `${pgId} ${index} ${committed ? "committed" : "not committed"}`;
}

function showActor({ actorId, epoch, address }: NodeSnapshot["actors"][number]): string {
  return `${actorId} ${epoch} ${address}`;
}

function differ(what: string, head: readonly string[], there: readonly string[], found: string[]): void {
  const missing = head.filter((one) => !there.includes(one));
  const extra = there.filter((one) => !head.includes(one));
  if (missing.length > 0) found.push(`${what}: only the head knows ${missing.join(", ")}`);
  if (extra.length > 0) found.push(`${what}: the head does not know ${extra.join(", ")}`);
}

/** What is left where everything was taken away. Pure. */
export function leftovers({ head, nodes, stores, history }: Snapshot): string[] {
  const found = nodes.flatMap((node) => {
    const free: Record<string, number> = { ...node.view.free };
    const gpus = Object.values(node.view.devices).reduce((sum, units) => sum + units, 0);
    if (gpus > 0) free["GPU"] = gpus;
    return Object.entries(node.total).flatMap(([name, total]) =>
      free[name] === total ? [] : [`${node.nodeId}: ${free[name] ?? 0} of ${total} ${name} free`],
    );
  });
  for (const store of stores) {
    const [objects, files] = [store.objects(), store.files()];
    if (objects.length > 0) found.push(`${store.nodeId} keeps ${objects.join("; ")}`);
    if (files.length > 0) found.push(`${store.nodeId} keeps files of ${files.join(", ")}`);
  }
  const running = history.lives.filter((life) => life.to === undefined);
  if (running.length > 0)
    found.push(`${running.map((life) => `${life.actorId} in ${life.process}`).join(", ")} run still`);
  if (head && head.waiters > 0) found.push(`${head.waiters} calls wait at the head`);
  if (head && head.groups.length > 0) found.push(`${head.groups.length} groups are there still`);
  return found;
}
