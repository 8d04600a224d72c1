import { addUnits, type Clock, subtractUnits, WhiprayError } from "@whipray/core";
import {
  type ActorStarted,
  actorEnded,
  actorStart,
  actorStop,
  bundleCommit,
  bundlePrepare,
  bundleRelease,
  type DeathCause,
  type DeviceGrant,
  type NodeRegistered,
  type NodeView,
  nodeBeat,
  nodeDevicesSeen,
  nodeHold,
  nodeRegister,
  nodeRenewals,
  nodeViewChanged,
} from "@whipray/rpc";
import type { FakeEndpoint, FakeNet, FakePeer } from "./fake-net.ts";
import { units } from "./rooms.ts";

interface Bundle {
  epoch: number;
  units: Record<string, number>;
  devices: DeviceGrant[];
  committed: boolean;
}
interface Running {
  epoch: number;
  units: Record<string, number>;
  devices: DeviceGrant[];
  bundle: string | undefined;
  pid: number;
}

/** What a raylet would do, without processes: a ledger that refuses what it does not have, bundles by epoch, actors that run at once. */
export class FakeRaylet {
  readonly nodeId: string;
  readonly net: FakeNet;
  readonly clock: Clock;
  endpoint!: FakeEndpoint;
  head!: FakePeer;
  epoch = 0;
  inc: string;
  registered: NodeRegistered | undefined;
  readonly bundles = new Map<string, Bundle>();
  readonly actors = new Map<string, Running>();
  /** Every order that arrived, `method subject`. */
  readonly log: string[] = [];
  /** What the next starts answer, instead of running. */
  readonly startAnswers: (Partial<ActorStarted> | Error | Promise<void>)[] = [];
  /** Holds every prepare back until it resolves. */
  prepareGate: Promise<void> | undefined;
  refusePrepare: string | undefined;
  /** What the head said is kept for starving groups. */
  held: Record<string, number> = {};
  beating = true;
  readonly #total: Record<string, number>;
  readonly #gpus: number;
  #free: Record<string, number>;
  /** Newest epoch seen of each group. */
  readonly #newest = new Map<string, number>();
  readonly #shares = new Map<string, number>();
  #version = 0;
  #pids = 1_000;
  #beats = 0;
  #rejoining = false;

  constructor(
    net: FakeNet,
    nodeId: string,
    total: Record<string, number>,
    options: { gpus?: number; inc?: string } = {},
  ) {
    this.net = net;
    this.clock = net.clock;
    this.nodeId = nodeId;
    this.inc = options.inc ?? `inc_${nodeId.slice(5)}1`;
    this.#total = { ...units(total) };
    this.#free = { ...this.#total };
    this.#gpus = options.gpus ?? 0;
    for (let index = 0; index < this.#gpus; index++) this.#shares.set(this.#uuid(index), 10_000);
    this.#open();
  }

  #uuid(index: number): string {
    return `GPU-${this.nodeId}-${index}`;
  }

  #open(): void {
    const endpoint = this.net.endpoint(`${this.nodeId}/raylet`, "raylet", this.inc);
    this.endpoint = endpoint;
    endpoint.serve(bundlePrepare, async (request) => {
      this.log.push(`prepare ${request.pgId} ${request.bundles.map((bundle) => bundle.index)}`);
      await this.prepareGate;
      if (request.nodeEpoch !== this.epoch) return { ok: false, reason: "STALE_EPOCH", view: this.view() };
      if (this.refusePrepare !== undefined) return { ok: false, reason: this.refusePrepare, view: this.view() };
      // As the real ledger: an older epoch of the group is stale, a bundle that is held must be released first.
      if (request.epoch < (this.#newest.get(request.pgId) ?? 0))
        throw new WhiprayError({ code: "STALE_EPOCH", message: "older" });
      const wanted = request.bundles.filter(
        (bundle) => this.bundles.get(`${request.pgId} ${bundle.index}`)?.epoch !== request.epoch,
      );
      const held = wanted.some((bundle) => this.bundles.has(`${request.pgId} ${bundle.index}`));
      if (held || !wanted.every((bundle) => this.#fits(bundle.units, bundle.devices))) {
        return { ok: false, reason: held ? "release it first" : "not free any more", view: this.view() };
      }
      this.#newest.set(request.pgId, request.epoch);
      for (const bundle of wanted) {
        this.#take(bundle.units, bundle.devices);
        const at = `${request.pgId} ${bundle.index}`;
        this.bundles.set(at, { epoch: request.epoch, units: bundle.units, devices: bundle.devices, committed: false });
      }
      return { ok: true, view: this.view() };
    });
    endpoint.serve(bundleCommit, (request) => {
      this.log.push(`commit ${request.pgId} ${request.indices}`);
      if (request.epoch < (this.#newest.get(request.pgId) ?? 0))
        throw new WhiprayError({ code: "STALE_EPOCH", message: "older" });
      for (const index of request.indices) {
        const bundle = this.bundles.get(`${request.pgId} ${index}`);
        if (bundle?.epoch !== request.epoch)
          throw new WhiprayError({ code: "NOT_FOUND", message: `no bundle ${index}` });
        bundle.committed = true;
      }
      return { view: this.view() };
    });
    endpoint.serve(bundleRelease, (request) => {
      this.log.push(`release ${request.pgId} ${request.indices ?? "all"}`);
      this.#newest.set(request.pgId, Math.max(request.epoch, this.#newest.get(request.pgId) ?? 0));
      for (const [at, bundle] of [...this.bundles]) {
        const [pgId, index] = at.split(" ");
        if (pgId !== request.pgId || bundle.epoch > request.epoch) continue;
        if (request.indices && !request.indices.includes(Number(index))) continue;
        this.bundles.delete(at);
        this.#giveBack(bundle.units, bundle.devices);
      }
      return { view: this.view() };
    });
    endpoint.serve(actorStart, async ({ spec, epoch, devices }): Promise<ActorStarted> => {
      this.log.push(`start ${spec.actorId} ${epoch} bundle ${spec.bundleIndex}`);
      const known = this.actors.get(spec.actorId);
      if (known?.epoch === epoch) return this.#started(known);
      const answer = this.startAnswers.shift();
      if (answer instanceof Error) throw answer;
      if (answer instanceof Promise) await answer;
      else if (answer) return { ok: false, view: this.view(), ...answer };
      const inBundle = spec.pgId === undefined ? undefined : `${spec.pgId} ${spec.bundleIndex}`;
      if (inBundle === undefined) {
        if (!this.#fits(spec.placementUnits, devices))
          return { ok: false, refused: "not free any more", view: this.view() };
        this.#take(spec.units, devices);
      }
      const running = { epoch, units: spec.units, devices, bundle: inBundle, pid: this.#pids++ };
      this.actors.set(spec.actorId, running);
      this.#tellView();
      return this.#started(running);
    });
    endpoint.serve(nodeHold, ({ units: held }) => {
      this.held = held;
      return {};
    });
    endpoint.serve(nodeRenewals, () => ({ renewedAgoMs: 0 }));
    endpoint.serve(actorStop, ({ actorId, epoch, graceMs }) => {
      this.log.push(`stop ${actorId} ${epoch}${graceMs > 0 ? ` within ${graceMs} ms` : ""}`);
      const running = this.actors.get(actorId);
      if (running?.epoch === epoch) this.#forgetActor(actorId);
      return { found: running !== undefined, view: this.view() };
    });
  }

  #started({ pid, devices }: Running): ActorStarted {
    const process = { address: `${this.nodeId}/worker_${pid}`, inc: `inc_w${pid}`, socket: `/run/${pid}`, pid };
    return { ok: true, ...process, devices, view: this.view() };
  }

  #forgetActor(actorId: string): void {
    const running = this.actors.get(actorId);
    if (!this.actors.delete(actorId) || !running) return;
    if (running.bundle === undefined) this.#giveBack(running.units, running.devices);
  }

  #fits(asked: Record<string, number>, devices: DeviceGrant[]): boolean {
    const scalars = Object.entries(asked).filter(([name]) => name !== "GPU");
    return (
      scalars.every(([name, need]) => (this.#free[name] ?? 0) >= need) &&
      devices.every((grant) => (this.#shares.get(grant.uuid) ?? 0) >= grant.units)
    );
  }

  #take(asked: Record<string, number>, devices: DeviceGrant[]): void {
    this.#free = subtractUnits(this.#free, withoutGpu(asked));
    for (const { uuid, units: share } of devices) this.#shares.set(uuid, this.#shares.get(uuid)! - share);
    this.#version++;
  }

  #giveBack(asked: Record<string, number>, devices: DeviceGrant[]): void {
    this.#free = addUnits(this.#free, withoutGpu(asked));
    for (const { uuid, units: share } of devices) this.#shares.set(uuid, this.#shares.get(uuid)! + share);
    this.#version++;
    this.#tellView();
  }

  /** Devices that it does not offer, as it would tell them. */
  withheld: NonNullable<NodeView["withheld"]> = {};

  view(): NodeView {
    const shares = [...this.#shares].filter(([, share]) => share > 0);
    const withheld = Object.keys(this.withheld).length > 0 ? { withheld: this.withheld } : {};
    return { version: ++this.#version, free: { ...this.#free }, devices: Object.fromEntries(shares), ...withheld };
  }

  #tellView(): void {
    if (this.epoch > 0) this.head?.tell(nodeViewChanged, { nodeId: this.nodeId, epoch: this.epoch, view: this.view() });
  }

  /** Takes amounts as a task next to the raylet would, and tells the head. */
  occupy(amounts: Record<string, number>): void {
    this.#take(units(amounts), []);
    this.#tellView();
  }

  vacate(amounts: Record<string, number>): void {
    this.#giveBack(units(amounts), []);
  }

  /** Tells what a look at the devices found: these are lost, the others well. */
  async sees(...lost: number[]): Promise<void> {
    for (const index of lost) this.#shares.set(this.#uuid(index), 0);
    const states = Array.from({ length: this.#gpus }, (_, index) => {
      const uuid = this.#uuid(index);
      return lost.includes(index)
        ? { uuid, health: "unhealthy" as const, lost: true }
        : { uuid, health: "ok" as const };
    });
    const report = { states, agoMs: 0 };
    await this.head!.invoke(nodeDevicesSeen, { nodeId: this.nodeId, epoch: this.epoch, report });
  }

  async register(): Promise<NodeRegistered> {
    this.head = this.endpoint.connect({ to: "head/head" });
    const devices = Array.from({ length: this.#gpus }, (_, index) => ({
      ...{ uuid: this.#uuid(index), index, resource: "GPU", vendor: "fake", model: "fake" },
      health: "ok" as const,
    }));
    this.registered = await this.head.invoke(nodeRegister, {
      ...{
        nodeId: this.nodeId,
        inc: this.inc,
        epoch: this.epoch,
        name: this.nodeId,
        hostname: this.nodeId,
        ip: "127.0.0.1",
      },
      ...{
        url: `ws://${this.nodeId}`,
        pid: 7,
        version: "0.1.0",
        total: { ...this.#total, GPU: this.#gpus * 10_000 },
        devices,
      },
      ...{ labels: { node: this.nodeId }, view: this.view() },
      actors: [...this.actors].map(([actorId, { epoch, pid }]) => ({
        actorId,
        epoch,
        address: `${this.nodeId}/worker_${pid}`,
        inc: `inc_w${pid}`,
        pid,
      })),
      bundles: [...this.bundles].map(([at, { epoch, committed }]) => ({
        pgId: at.split(" ")[0]!,
        index: Number(at.split(" ")[1]),
        epoch,
        committed,
      })),
    });
    this.epoch = this.registered.epoch;
    for (const actorId of this.registered.dropActors) this.#forgetActor(actorId);
    for (const { pgId, index } of this.registered.dropBundles) {
      const bundle = this.bundles.get(`${pgId} ${index}`);
      if (!this.bundles.delete(`${pgId} ${index}`) || !bundle) continue;
      this.#giveBack(bundle.units, bundle.devices);
    }
    this.#tellView();
    return this.registered;
  }

  /** Registers, and beats every second from now on. */
  async join(): Promise<void> {
    await this.register();
    this.#beat(this.endpoint);
  }

  #beat(of: FakeEndpoint): void {
    this.clock.after(1_000, () => {
      if (!of.alive || this.endpoint !== of) return;
      if (this.beating) {
        const beat = { nodeId: this.nodeId, epoch: this.epoch, n: ++this.#beats };
        this.head.invoke(nodeBeat, beat, { timeoutMs: 5_000 }).catch((error: { code?: string }) => {
          if (error.code === "STALE_EPOCH" || this.head.closed) void this.#rejoin();
        });
      }
      this.#beat(of);
    });
  }

  /** As a raylet does when a beat was refused or its session to the head is over. */
  async #rejoin(): Promise<void> {
    if (this.#rejoining) return;
    this.#rejoining = true;
    await this.register().catch(() => undefined);
    this.#rejoining = false;
  }

  /** A process of an actor ends by itself. */
  async crash(actorId: string, cause: Partial<DeathCause> = {}): Promise<void> {
    const { epoch } = this.actors.get(actorId)!;
    this.#forgetActor(actorId);
    const died: DeathCause = { kind: "WORKER_DIED", message: "worker exited with signal SIGKILL", ...cause };
    await this.head.invoke(actorEnded, {
      nodeId: this.nodeId,
      nodeEpoch: this.epoch,
      actorId,
      epoch,
      cause: died,
      view: this.view(),
    });
  }

  kill(): void {
    this.endpoint.kill();
  }

  /** What is free when nothing runs, and nothing does. */
  get idle(): boolean {
    const shares = [...this.#shares.values()].every((share) => share === 10_000);
    const same = Object.entries(this.#total).every(([name, all]) => this.#free[name] === all);
    return shares && same && this.bundles.size === 0 && this.actors.size === 0;
  }
}

function withoutGpu(asked: Record<string, number>): Record<string, number> {
  return Object.fromEntries(Object.entries(asked).filter(([name]) => name !== "GPU"));
}
