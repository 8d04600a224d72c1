import type { DeviceTopology, ResourceUnits, WhiprayError } from "@whipray/core";
import type { DeviceGrant, DeviceReport, NodeRegister, NodeRow, NodeView } from "@whipray/rpc";
import { limit } from "./full-table.ts";
import { calmUntilMs, type KnownNode, knownRow } from "./known-node.ts";
import {
  CLAIM_SETTLE_MS,
  DEAD_MS,
  DEAD_NODES_KEPT,
  NODES_LIMIT,
  PROBE_AFTER_MS,
  PROBE_EVERY_MS,
  PROBES_GONE,
  SUSPECT_MS,
} from "./limits.ts";
import type { NodeEffect, ProbeAnswer } from "./node-effect.ts";
import { duplicateDevice, nodeIdInUse, staleEpoch } from "./node-errors.ts";
import { type NodeRecord, recordOf, roomNow, roomTotal, shows, topologyOf } from "./node-record.ts";
import type { NodeRoom } from "./placement/room.ts";
import { RoomIndex } from "./placement/room-index.ts";
import { falseView } from "./view-check.ts";
import { withheldNews } from "./withheld-news.ts";

/**
 * Who is in the cluster, and what is free where. Pure: events and times in, effects out.
 *
 * A lost connection or 3 s of silence make a node SUSPECT: it gets nothing new and keeps everything. Dead it is after 10 s of
 * silence, never sooner (its own lease is 8 s), unless a look at its port or pid finds nobody twice in a row: a crashed raylet is
 * known in under 3 s, a cut-off one never declared dead before it has fenced itself (design.md, mechanism 5).
 */
export class NodeTable {
  readonly #nodes = new Map<string, KnownNode>();
  readonly #headOutageMs: number;
  readonly #limit: number;
  readonly #index = new RoomIndex();
  readonly #totals = new RoomIndex();
  /** Nodes whose room the index does not have as it is now. */
  readonly #dirty = new Set<string>();
  /** Device → the node that offered it last. */
  readonly #offeredBy = new Map<string, string>();
  #order = 0;
  #claimId = 0;
  /** Handed out with the next tick. */
  #untold: NodeEffect[] = [];
  /** Grows whenever something changed that placement looks at. */
  changes = 0;

  /** `limit`: of live nodes; default `NODES_LIMIT`. */
  constructor(options: { headOutageMs: number; limit?: number }) {
    this.#headOutageMs = options.headOutageMs;
    this.#limit = options.limit ?? NODES_LIMIT;
  }

  /** Nodes of an earlier head: SUSPECT, their work kept for `headOutageMs`. */
  restore(records: Iterable<NodeRecord>, nowMs: number): void {
    for (const record of records)
      this.#put({ ...record }, nowMs, record.dead ? "DEAD" : "SUSPECT").returning = !record.dead;
  }

  /**
   * A raylet says who it is. The same incarnation keeps its epoch and what it runs; anything else starts with a higher epoch. It gets
   * nothing new before `opened`.
   * @throws WhiprayError `NODE_ID_IN_USE`, `DUPLICATE_DEVICE` (both retryable: the holder may be about to be declared dead), `LIMIT`,
   * `INVALID_LINKS`, `INVALID_VIEW`.
   */
  register(request: NodeRegister, nowMs: number): { epoch: number; effects: NodeEffect[] } {
    const { nodeId } = request;
    const known = this.#nodes.get(nodeId);
    const same = known !== undefined && known.state !== "DEAD" && known.record.inc === request.inc;
    this.#refuse(request, known, same);
    const topology = topologyOf(request);
    const effects: NodeEffect[] = [];
    if (known && !same && known.state !== "DEAD") {
      effects.push(...this.#die(known, `raylet restarted as ${request.inc}`));
    }
    const epoch =
      same && request.epoch <= known.record.epoch
        ? known.record.epoch
        : Math.max(known?.record.epoch ?? 0, request.epoch) + 1;
    const record = recordOf(request, epoch);
    record.reachable = same && known.record.reachable;
    const node = this.#put(record, nowMs, "SUSPECT", topology);
    node.linkLost = true;
    if (same) node.claims = known.claims;
    if (same) node.seen = known.seen;
    node.view = same && known.view && known.view.version > request.view.version ? known.view : request.view;
    this.#untold.push(...withheldNews(nodeId, known?.view, node.view));
    effects.push({ kind: "save", nodeId });
    effects.push(...this.#forgetOld());
    return { epoch, effects };
  }

  /** The raylet has been told that it is registered: from now on it may be given work. */
  opened(nodeId: string, epoch: number): NodeEffect[] {
    const node = this.#nodes.get(nodeId);
    if (node?.state !== "SUSPECT" || node.record.epoch !== epoch) return [];
    node.linkLost = false;
    return [...this.#alive(node), { kind: "probe", nodeId, inc: node.record.inc }];
  }

  #refuse(request: NodeRegister, known: KnownNode | undefined, same: boolean): void {
    const untrue = falseView(request, request.view);
    if (untrue) throw untrue;
    if (known?.state === "ALIVE" && !same) throw nodeIdInUse(known.record);
    const live = this.#nodes.values().filter((node) => node.state !== "DEAD");
    if (!known && live.toArray().length >= this.#limit) throw limit("nodes", this.#limit);
    const seen = new Set<string>();
    for (const { uuid } of request.devices) {
      const holder = seen.has(uuid) ? request : this.#holderOf(uuid, known);
      seen.add(uuid);
      if (holder) throw duplicateDevice(uuid, request.nodeId, holder);
    }
  }

  /** Another node that is not dead and has this device. */
  #holderOf(uuid: string, known: KnownNode | undefined): NodeRecord | undefined {
    const node = this.#nodes.get(this.#offeredBy.get(uuid) ?? "");
    const holds = node?.state !== "DEAD" && node?.record.devices.some((device) => device.uuid === uuid);
    return holds && node !== known ? node?.record : undefined;
  }

  /**
   * A raylet whose last answered beat is older than SUSPECT_MS does not hear us: it is about to fence itself, so its beats count
   * for nothing until one of our answers has reached it (reliability F14).
   * @throws WhiprayError `STALE_EPOCH`: the raylet must register again.
   */
  beat(nodeId: string, epoch: number, nowMs: number, renewedAgoMs = 0): NodeEffect[] {
    const node = this.#current(nodeId, epoch);
    if (renewedAgoMs >= SUSPECT_MS) return [];
    node.renewedAtMs = nowMs;
    node.gone = 0;
    if (node.state !== "SUSPECT" || node.linkLost || node.returning || node.untrue) return [];
    return this.#alive(node);
  }

  /**
   * Takes a view unless a newer one is known. One that cannot be true is not taken: the node is suspect until the next that can, or
   * a registration, and the answer is the `INVALID_VIEW` to refuse it with.
   * @throws WhiprayError `STALE_EPOCH`.
   */
  viewed(nodeId: string, epoch: number, view: NodeView): WhiprayError | undefined {
    const node = this.#current(nodeId, epoch);
    if (node.view && view.version <= node.view.version) return undefined;
    const untrue = falseView(node.record, view);
    node.untrue = untrue !== undefined;
    if (untrue) {
      this.#untold.push(...this.#suspect(node, untrue.message));
      node.why = untrue.message;
      return untrue;
    }
    this.#untold.push(...withheldNews(nodeId, node.view, view));
    node.view = view;
    for (const [id, claim] of node.claims) if (claim.settles && shows(view, claim)) node.claims.delete(id);
    this.#changed(node);
    return undefined;
  }

  /**
   * A look of the raylet at its devices: what is unhealthy is not offered, and counts for nothing. Answers which are lost.
   * @throws WhiprayError `STALE_EPOCH`.
   */
  seen(nodeId: string, epoch: number, report: DeviceReport, nowMs: number): ReadonlySet<string> {
    const node = this.#current(nodeId, epoch);
    node.seen = { report, atMs: nowMs };
    const states = new Map(report.states.map((state) => [state.uuid, state]));
    for (const device of node.record.devices) {
      const state = states.get(device.uuid);
      if (!state || (state.health === device.health && state.healthReason === device.healthReason)) continue;
      device.health = state.health;
      if (state.healthReason === undefined) delete device.healthReason;
      else device.healthReason = state.healthReason;
      node.total = roomTotal(node.record, node.topology);
      this.#changed(node);
    }
    return new Set(report.states.filter((state) => state.lost).map((state) => state.uuid));
  }

  /** How the devices of a node reach each other. */
  topology(nodeId: string): DeviceTopology | undefined {
    return this.#nodes.get(nodeId)?.topology;
  }

  /** Devices of a node that are not offered now: uuid → why. */
  withheld(nodeId: string): NonNullable<NodeView["withheld"]> {
    return this.#nodes.get(nodeId)?.view?.withheld ?? {};
  }

  /** The node leaves on purpose. @throws WhiprayError `STALE_EPOCH`. */
  leave(nodeId: string, epoch: number, reason: string): NodeEffect[] {
    return this.#die(this.#current(nodeId, epoch), `left: ${reason}`, true);
  }

  /** Its control connection broke; ends with `linkBack` or the next registration. */
  linkLost(nodeId: string): NodeEffect[] {
    const node = this.#nodes.get(nodeId);
    if (!node || node.state === "DEAD") return [];
    node.linkLost = true;
    return this.#suspect(node, "connection lost");
  }

  /** The same control session goes on over a new connection. */
  linkBack(nodeId: string, nowMs: number): NodeEffect[] {
    const node = this.#nodes.get(nodeId);
    if (node?.state !== "SUSPECT" || !node.linkLost || node.returning) return [];
    node.linkLost = false;
    return nowMs - node.renewedAtMs < SUSPECT_MS && !node.untrue ? this.#alive(node) : [];
  }

  probed(nodeId: string, inc: string, answer: ProbeAnswer, nowMs: number): NodeEffect[] {
    const node = this.#nodes.get(nodeId);
    if (!node || node.state === "DEAD" || node.record.inc !== inc) return [];
    const silentMs = nowMs - node.renewedAtMs;
    if (answer !== "gone") {
      node.gone = 0;
      if (answer !== "there" || node.record.reachable || silentMs >= PROBE_AFTER_MS) return [];
      node.record.reachable = true;
      return [{ kind: "save", nodeId }];
    }
    if (!node.record.reachable || silentMs < PROBE_AFTER_MS) return [];
    node.gone++;
    return node.gone < PROBES_GONE ? [] : this.#die(node, "raylet process is gone");
  }

  /** Before that a tick has nothing to do unless something else happens: no node that is well is silent for too long. */
  calmUntilMs(nowMs: number): number {
    return this.#untold.length > 0 ? nowMs : calmUntilMs([...this.#nodes.values()], nowMs);
  }

  tick(nowMs: number): NodeEffect[] {
    const effects = this.#untold.splice(0);
    for (const node of this.#nodes.values()) {
      if (node.state === "DEAD") continue;
      for (const [id, claim] of node.claims) {
        if (claim.settles && nowMs - claim.madeAtMs >= CLAIM_SETTLE_MS) this.unclaim(node.record.nodeId, id);
      }
      const silentMs = nowMs - node.renewedAtMs;
      if (silentMs >= (node.returning ? this.#headOutageMs : DEAD_MS)) {
        effects.push(...this.#die(node, `silent for ${Math.round(silentMs)} ms`));
        continue;
      }
      if (silentMs >= SUSPECT_MS) effects.push(...this.#suspect(node, `silent for ${Math.round(silentMs)} ms`));
      if (silentMs >= PROBE_AFTER_MS && node.record.reachable && nowMs >= node.probeAtMs) {
        node.probeAtMs = nowMs + PROBE_EVERY_MS;
        effects.push({ kind: "probe", nodeId: node.record.nodeId, inc: node.record.inc });
      }
    }
    return effects;
  }

  /** Takes amounts out of what placement sees, until `unclaim` or (when it settles) until a view shows them. */
  claim(
    nodeId: string,
    units: ResourceUnits,
    devices: readonly DeviceGrant[],
    nowMs: number,
    settles: boolean,
  ): number {
    const node = this.#nodes.get(nodeId);
    const id = ++this.#claimId;
    if (!node?.view) return id;
    node.claims.set(id, { units, devices, madeAtMs: nowMs, settles, before: node.view });
    this.#changed(node);
    return id;
  }

  unclaim(nodeId: string, claimId: number): void {
    const node = this.#nodes.get(nodeId);
    if (node?.claims.delete(claimId)) this.#changed(node);
  }

  /** What placement may use now: live nodes only. Good until something changes. */
  index(): RoomIndex {
    return this.#fresh(this.#index);
  }

  /** What the cluster has when nothing runs, suspect nodes included. Good until something changes. */
  totals(): RoomIndex {
    return this.#fresh(this.#totals);
  }

  #fresh(rooms: RoomIndex): RoomIndex {
    for (const nodeId of this.#dirty) {
      const node = this.#nodes.get(nodeId);
      if (!node || node.state === "DEAD") this.#totals.delete(nodeId);
      else if (this.#totals.get(nodeId) !== node.total) this.#totals.set(node.total, node.total, node.order);
      if (node?.state !== "ALIVE" || !node.view || node.view.suspect) this.#index.delete(nodeId);
      else {
        const { record, topology, view, claims, total, order } = node;
        this.#index.set(roomNow(record, topology, view, claims.values()), total, order);
      }
    }
    this.#dirty.clear();
    return rooms;
  }

  /** What a node has when nothing runs there; undefined for one that is dead. */
  total(nodeId: string): NodeRoom | undefined {
    const node = this.#nodes.get(nodeId);
    return node && node.state !== "DEAD" ? node.total : undefined;
  }

  record(nodeId: string): Readonly<NodeRecord> | undefined {
    return this.#nodes.get(nodeId)?.record;
  }

  /** UNKNOWN for an id that never registered. */
  state(nodeId: string): NodeRow["state"] | "UNKNOWN" {
    return this.#nodes.get(nodeId)?.state ?? "UNKNOWN";
  }

  isReturning(nodeId: string): boolean {
    return this.#nodes.get(nodeId)?.returning ?? false;
  }

  rows(nowMs: number): NodeRow[] {
    return [...this.#nodes.values()].map((node) => knownRow(node, nowMs));
  }

  #put(record: NodeRecord, nowMs: number, state: NodeRow["state"], topology = topologyOf(record)): KnownNode {
    const node: KnownNode = {
      record,
      state,
      view: undefined,
      renewedAtMs: nowMs,
      returning: false,
      linkLost: false,
      why: undefined,
      untrue: false,
      probeAtMs: 0,
      gone: 0,
      claims: new Map(),
      order: this.#nodes.get(record.nodeId)?.order ?? ++this.#order,
      total: roomTotal(record, topology),
      topology,
      seen: undefined,
    };
    this.#nodes.set(record.nodeId, node);
    if (state !== "DEAD") for (const { uuid } of record.devices) this.#offeredBy.set(uuid, record.nodeId);
    this.#changed(node);
    return node;
  }

  #current(nodeId: string, epoch: number): KnownNode {
    const node = this.#nodes.get(nodeId);
    if (node && node.state !== "DEAD" && node.record.epoch === epoch && !node.returning) return node;
    throw staleEpoch(nodeId, epoch, node);
  }

  #suspect(node: KnownNode, reason: string): NodeEffect[] {
    if (node.state !== "ALIVE") return [];
    Object.assign(node, { state: "SUSPECT", why: reason });
    this.#changed(node);
    return [{ kind: "suspect", nodeId: node.record.nodeId, reason }];
  }

  #alive(node: KnownNode): NodeEffect[] {
    node.state = "ALIVE";
    node.why = undefined;
    this.#changed(node);
    return [{ kind: "alive", nodeId: node.record.nodeId }];
  }

  #die(node: KnownNode, reason: string, left = false): NodeEffect[] {
    const { nodeId, epoch } = node.record;
    Object.assign(node, { state: "DEAD", returning: false, view: undefined });
    node.claims.clear();
    Object.assign(node.record, { dead: true, deathReason: reason });
    this.#changed(node);
    return [
      { kind: "save", nodeId },
      { kind: "dead", nodeId, epoch, reason, left },
    ];
  }

  #forgetOld(): NodeEffect[] {
    const dead = [...this.#nodes.values()].filter((node) => node.state === "DEAD");
    return dead.slice(0, Math.max(0, dead.length - DEAD_NODES_KEPT)).map(({ record: { nodeId, devices } }) => {
      this.#nodes.delete(nodeId);
      for (const { uuid } of devices) if (this.#offeredBy.get(uuid) === nodeId) this.#offeredBy.delete(uuid);
      return { kind: "forget", nodeId };
    });
  }

  #changed(node: KnownNode): void {
    this.#dirty.add(node.record.nodeId);
    this.changes++;
  }
}
