import { SimulatedClock, seededIds, seededRandom, settle, WhiprayError } from "@whipray/core";
import {
  type ActorRow,
  type ActorSpec,
  actorByName,
  actorCreate,
  actorKill,
  actorResolve,
  type GroupCreate,
  type GroupRow,
  groupCreate,
  groupRemove,
  groupTable,
  groupWait,
  jobClose,
  jobOpen,
} from "@whipray/rpc";
import { Head } from "../src/head.ts";
import { CREATE_WITH_PLACE_MS, NAME_LEASE_MS } from "../src/limits.ts";
import { type MemoryDisk, MemoryStore, type MemoryStoreHooks } from "../src/memory-store.ts";
import type { HeadOptions } from "../src/options.ts";
import { type FakeEndpoint, FakeNet, type FakePeer } from "./fake-net.ts";
import { FakeRaylet } from "./fake-raylet.ts";
import { units } from "./rooms.ts";

/** A head on a simulated clock with fake raylets and drivers. */
export class TestCluster {
  readonly clock = new SimulatedClock();
  readonly net = new FakeNet(this.clock);
  readonly disk: MemoryDisk = new Map();
  readonly ids = seededIds(seededRandom(7));
  readonly raylets: FakeRaylet[] = [];
  head!: Head;
  #endpoint!: FakeEndpoint;
  #heads = 0;

  async start(options: HeadOptions = {}, hooks: MemoryStoreHooks = {}): Promise<this> {
    this.#endpoint = this.net.endpoint("head/head", "head", `inc_head${++this.#heads}`);
    const store = new MemoryStore(this.disk, hooks);
    this.head = new Head({
      endpoint: this.#endpoint,
      clock: this.clock,
      ids: this.ids,
      random: seededRandom(1),
      store,
      options,
    });
    await this.head.start();
    return this;
  }

  /** SIGKILL of the head: nothing of it is sent, written or answered any more. */
  killHead(): void {
    const peers = [...this.#endpoint.peers.values()];
    this.#endpoint.kill();
    for (const peer of peers) peer.twin.end(new WhiprayError({ code: "UNREACHABLE", message: "the head is gone" }));
    void this.head.stop();
  }

  /** A new head on the same disk; raylets and drivers come back unless they are left out. */
  async restartHead(
    options: HeadOptions = {},
    back: { raylets?: FakeRaylet[]; drivers?: TestDriver[] } = {},
  ): Promise<void> {
    await this.start(options);
    for (const driver of back.drivers ?? []) await driver.open();
    for (const raylet of back.raylets ?? this.raylets) await raylet.register();
    // Until then lookups of names wait.
    await this.run(NAME_LEASE_MS);
  }

  async node(name: string, total: Record<string, number>, options: { gpus?: number } = {}): Promise<FakeRaylet> {
    const raylet = new FakeRaylet(this.net, `node_${name}`, total, options);
    this.raylets.push(raylet);
    await raylet.join();
    await this.run(1);
    return raylet;
  }

  driver(name: string): TestDriver {
    return new TestDriver(this, name);
  }

  run(ms: number): Promise<void> {
    return this.clock.run(ms);
  }

  settle(): Promise<void> {
    return settle();
  }

  /** Moves time until it is true; fails after `withinMs`. */
  async until(what: string, condition: () => boolean | Promise<boolean>, withinMs = 30_000): Promise<void> {
    const endMs = this.clock.now() + withinMs;
    while (!(await condition())) {
      if (this.clock.now() >= endMs) throw new Error(`not within ${withinMs} ms: ${what}`);
      await this.run(50);
    }
  }
}

export class TestDriver {
  readonly cluster: TestCluster;
  readonly jobId: string;
  readonly endpoint: FakeEndpoint;
  head!: FakePeer;
  #made = 0;
  readonly #name: string;

  constructor(cluster: TestCluster, name: string) {
    this.cluster = cluster;
    this.#name = name;
    this.jobId = `job_${name}`;
    this.endpoint = cluster.net.endpoint(`head/driver_${name}`, "driver", `inc_d${name}`);
  }

  async open(namespace?: string): Promise<this> {
    this.head = this.endpoint.connect({ to: "head/head" });
    await this.head.invoke(jobOpen, { jobId: this.jobId, namespace, pid: 1, hostname: "h", entrypoint: "test" });
    return this;
  }

  close(): Promise<unknown> {
    return this.head.invoke(jobClose, { jobId: this.jobId });
  }

  id(kind: "pg" | "actor"): string {
    return `${kind}_${this.#name}${++this.#made}`;
  }

  async group(bundles: Record<string, number>[], more: Partial<GroupCreate> = {}): Promise<string> {
    const pgId = more.pgId ?? this.id("pg");
    const namespace = more.namespace ?? this.jobId;
    const request = { pgId, jobId: this.jobId, namespace, bundles: bundles.map((one) => ({ ...units(one) })) };
    const made = this.head.invoke(groupCreate, { ...request, strategy: "PACK", detached: false, ...more });
    let waits = true;
    const over = (): void => {
      waits = false;
    };
    made.then(over, over);
    await settle();
    // A raylet does not answer: the head waits no longer than this for the place.
    if (waits) await this.cluster.run(CREATE_WITH_PLACE_MS);
    await made;
    return pgId;
  }

  wait(pgId: string, timeoutMs?: number): Promise<{ ready: boolean; group: GroupRow }> {
    return this.head.invoke(groupWait, { pgId, timeoutMs });
  }

  async ready(pgId: string): Promise<GroupRow> {
    const waiting = this.wait(pgId, 60_000);
    let group: GroupRow | undefined;
    waiting.then(
      (reply) => {
        group = reply.group;
      },
      () => undefined,
    );
    await this.cluster.until(`${pgId} is ready`, () => group !== undefined);
    return group!;
  }

  remove(pgId: string): Promise<{ found: boolean }> {
    return this.head.invoke(groupRemove, { pgId });
  }

  async table(pgId: string): Promise<GroupRow> {
    return (await this.head.invoke(groupTable, { pgId })).groups[0]!;
  }

  spec(asked: Record<string, number>, more: Partial<ActorSpec> = {}): ActorSpec {
    const amounts = { ...units(asked) };
    return {
      ...{ actorId: this.id("actor"), jobId: this.jobId, namespace: this.jobId, detached: false, className: "Counter" },
      ...{
        module: "file:///counter.ts",
        exportName: "Counter",
        args: [Uint8Array.of(1)],
        units: amounts,
        placementUnits: amounts,
      },
      ...{
        bundleIndex: -1,
        captureChildTasks: false,
        maxRestarts: 0,
        maxTaskRetries: 0,
        maxConcurrency: 1,
        maxPendingCalls: -1,
      },
      ...{ env: {}, isolation: "env" as const, graceMs: 0 },
      ...more,
    };
  }

  async actor(asked: Record<string, number>, more: Partial<ActorSpec> = {}, getIfExists = false): Promise<string> {
    return (await this.head.invoke(actorCreate, { spec: this.spec(asked, more), getIfExists })).actorId;
  }

  async row(actorId: string): Promise<ActorRow> {
    return (await this.head.invoke(actorResolve, { actorId, wait: false })).actor;
  }

  async state(actorId: string): Promise<string> {
    return (await this.row(actorId)).state;
  }

  async alive(actorId: string, afterEpoch = 0): Promise<ActorRow> {
    await this.cluster.until(`${actorId} is alive`, async () => {
      const row = await this.row(actorId);
      return row.state === "ALIVE" && row.epoch > afterEpoch;
    });
    return this.row(actorId);
  }

  async dead(actorId: string): Promise<ActorRow> {
    await this.cluster.until(`${actorId} is dead`, async () => (await this.state(actorId)) === "DEAD");
    return this.row(actorId);
  }

  kill(actorId: string, noRestart = true): Promise<{ found: boolean }> {
    return this.head.invoke(actorKill, { actorId, noRestart });
  }

  async named(name: string, namespace = this.jobId): Promise<ActorRow> {
    return (await this.head.invoke(actorByName, { name, namespace })).actor;
  }
}
