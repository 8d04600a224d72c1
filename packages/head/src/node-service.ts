import { asWhiprayError } from "@whipray/core";
import {
  type IncomingCall,
  type NodeRegister,
  type NodeRegistered,
  type NodeRoomRow,
  nodeBeat,
  nodeDevicesSeen,
  nodeLeave,
  nodeRegister,
  nodeRenewals,
  nodeRooms,
  nodesList,
  nodeViewChanged,
} from "@whipray/rpc";
import type { ActorService } from "./actor-service.ts";
import { type HeadContext, onlyFor } from "./context.ts";
import { eventOfNode } from "./event-of.ts";
import { BEAT_MS } from "./limits.ts";
import type { NodeEffect } from "./node-effect.ts";
import type { NodeRoom } from "./placement/room.ts";
import { RoomTeller } from "./room-news.ts";

/** Serves `node.*`, and tells groups and actors when a node comes, falters or dies. */
export class NodeService {
  readonly #ctx: HeadContext;
  readonly #actors: ActorService;
  /** Grows when a node comes or dies. */
  #peersVersion = 0;
  readonly #rooms = new RoomTeller((room) => this.#roomRow(room));

  constructor(ctx: HeadContext, actors: ActorService) {
    this.#ctx = ctx;
    this.#actors = actors;
  }

  serve(): void {
    const { endpoint, nodes, clock, reschedule } = this.#ctx;
    endpoint.serve(nodeRegister, (request, call) => this.register(request, call));
    endpoint.serve(nodeBeat, ({ nodeId, epoch, n, renewedAgoMs, peersVersion }, call) => {
      onlyFor(call, "raylet");
      this.run(nodes.beat(nodeId, epoch, clock.now(), renewedAgoMs));
      const version = this.#peersVersion;
      // The first raylet of a cluster registers before it has a peer: without this it could never find out that it is cut off.
      return peersVersion === version ? { n } : { n, peers: { version, nodes: this.#peersOf(nodeId) } };
    });
    endpoint.serve(nodeViewChanged, ({ nodeId, epoch, view }, call) => {
      onlyFor(call, "raylet");
      const untrue = nodes.viewed(nodeId, epoch, view);
      reschedule();
      if (untrue) throw untrue;
      return null;
    });
    endpoint.serve(nodeDevicesSeen, ({ nodeId, epoch, report }, call) => {
      onlyFor(call, "raylet");
      const lost = nodes.seen(nodeId, epoch, report, clock.now());
      if (lost.size > 0) this.#ctx.runGroups(this.#ctx.groups.devicesLost(nodeId, lost, clock.now()));
      reschedule();
      return null;
    });
    endpoint.serve(nodeLeave, ({ nodeId, epoch, reason }, call) => {
      onlyFor(call, "raylet");
      this.run(nodes.leave(nodeId, epoch, reason));
      return null;
    });
    endpoint.serve(nodeRooms, ({ version }, call) => {
      onlyFor(call, "raylet");
      return this.#rooms.news(this.#ctx.groups.rooms(nodes).all(), version);
    });
    endpoint.serve(nodesList, () => ({ nodes: nodes.rows(clock.now()) }));
  }

  /** Answers with what the raylet must drop. Nothing new is sent to it before it has the answer. */
  async register(request: NodeRegister, call: IncomingCall): Promise<NodeRegistered> {
    onlyFor(call, "raylet");
    const ctx = this.#ctx;
    const { nodes, clock, journal } = ctx;
    const { nodeId } = request;
    const { epoch, effects } = nodes.register(request, clock.now());
    this.#peersVersion++;
    ctx.raylets.connect(nodeId, call.peer, () => this.run(nodes.linkLost(nodeId)));
    this.run(effects);
    // Before anything is awaited: a start or a prepare whose answer comes meanwhile is younger than this list, and not in it.
    const bundles = ctx.groups.announced(nodeId, epoch, request.bundles, clock.now());
    const stillAsked = (actorId: string) => this.#actors.isAsked(actorId);
    const actors = ctx.actors.announced(nodeId, request.actors, stillAsked, clock.now());
    await journal.save("nodes", nodeId);
    clock.after(0, () => {
      this.run(nodes.opened(nodeId, epoch));
      ctx.runGroups(bundles.effects);
      ctx.runActors(actors.effects);
      ctx.reschedule();
    });
    return {
      epoch,
      cluster: ctx.clusterId,
      beatMs: BEAT_MS,
      dropActors: actors.drop,
      dropBundles: bundles.drop.map(({ pgId, index }) => ({ pgId, index })),
      peerTokens: { ...ctx.options.peerTokens },
      peers: this.#peersOf(nodeId),
    };
  }

  /** The control connection broke. The session may go on over the next one: the answer to a question over it tells. */
  async linkLost(nodeId: string): Promise<void> {
    const { nodes, raylets, clock, logger } = this.#ctx;
    this.run(nodes.linkLost(nodeId));
    const peer = raylets.peer(nodeId);
    if (!peer) return;
    try {
      await peer.invoke(nodeRenewals, {});
      if (raylets.isOf(nodeId, peer)) this.run(nodes.linkBack(nodeId, clock.now()));
    } catch (error) {
      logger.debug("a raylet did not come back on its session", { nodeId, error: asWhiprayError(error).message });
    }
  }

  #roomRow({ nodeId, labels, free, devices }: NodeRoom): NodeRoomRow {
    const { url, socket, pidNamespace, total } = this.#ctx.nodes.record(nodeId)!;
    const offered = devices.filter(({ units }) => units > 0).map(({ resource, units }) => ({ resource, units }));
    const row: NodeRoomRow = { nodeId, labels: { ...labels }, total, free: { ...free }, devices: offered };
    if (url !== undefined) row.url = url;
    if (socket !== undefined) row.socket = socket;
    if (pidNamespace !== undefined) row.pidNamespace = pidNamespace;
    return row;
  }

  /** Other nodes, to ask when the head is silent. */
  #peersOf(nodeId: string): { nodeId: string; url?: string }[] {
    const { nodes, clock } = this.#ctx;
    const others = nodes.rows(clock.now()).filter((row) => row.nodeId !== nodeId && row.state !== "DEAD");
    return others.map((row) => ({ nodeId: row.nodeId, ...(row.url === undefined ? {} : { url: row.url }) }));
  }

  run(effects: readonly NodeEffect[]): void {
    const { groups, actors, nodes, journal, raylets, events, clock, logger } = this.#ctx;
    for (const effect of effects) {
      const { nodeId } = effect;
      const event = eventOfNode(effect, nodes.record(nodeId));
      if (event) events.add(event);
      switch (effect.kind) {
        case "save":
        case "forget":
          void journal.save("nodes", nodeId);
          break;
        case "probe":
          void this.#probe(nodeId, effect.inc);
          break;
        case "alive":
          logger.info("node is alive", { nodeId });
          break;
        case "suspect":
          logger.warn("node is suspect", { nodeId, reason: effect.reason });
          this.#ctx.runGroups(groups.nodeSuspect(nodeId, effect.reason, clock.now()));
          break;
        case "dead":
          logger.warn("node is dead", { nodeId, reason: effect.reason });
          this.#peersVersion++;
          if (nodes.state(nodeId) === "DEAD") raylets.disconnect(nodeId);
          this.#ctx.runGroups(groups.nodeDead(nodeId, effect.reason, clock.now()));
          this.#ctx.runActors(actors.nodeDead(nodeId, effect.reason, nodes, clock.now()));
          break;
        case "device":
          logger.info("a device changed", { nodeId, device: effect.device, withheld: effect.withheld });
          break;
      }
    }
    if (effects.length > 0) this.#ctx.reschedule();
  }

  async #probe(nodeId: string, inc: string): Promise<void> {
    const { nodes, options, clock, logger } = this.#ctx;
    const record = nodes.record(nodeId);
    if (!record || !options.prober) return;
    try {
      const answer = await options.prober.probe(record);
      this.run(nodes.probed(nodeId, inc, answer, clock.now()));
    } catch (error) {
      logger.warn("a look at a raylet failed", { nodeId, error: asWhiprayError(error).message });
    }
  }
}
