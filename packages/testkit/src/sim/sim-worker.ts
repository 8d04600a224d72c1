import { delay, toUnits, WhiprayError } from "@whipray/core";
import type { MemoryChild } from "@whipray/raylet";
import {
  actorHost,
  encodeValues,
  type IncomingCall,
  type Infer,
  type Listener,
  type Peer,
  taskBlocked,
  taskHost,
  taskLease,
  taskRelease,
  WireEndpoint,
  workerExit,
  workerReady,
} from "@whipray/rpc";
import { CallRunner, openObjectClient } from "@whipray/worker";
import { ProcessClock } from "./process-clock.ts";
import { HEAD_URL } from "./sim-head.ts";
import { type Marked, marked, SimObjects, valueWith } from "./sim-objects.ts";
import type { SimRaylet } from "./sim-raylet.ts";
import type { World } from "./world.ts";

type Hosted = Infer<(typeof actorHost)["request"]>;
type Method = (token: string, ms: number, ...more: unknown[]) => Promise<unknown>;
type TaskHosted = Infer<(typeof taskHost)["request"]>;

/** From the start of a process to its first words, at most. */
const START_MS = 60;
/** What a constructor takes, at most. */
const CONSTRUCT_MS = 40;

/** A method that got a value lets go of it, so often. */
const RELEASES = 0.7;
/** What a nested task may take. */
const NESTED_LIMIT_MS = 8_000;

/**
 * The in-memory twin of a worker process (`@whipray/worker`): becomes one actor or one job's host of tasks, refuses calls for another epoch, runs
 * one call at a time in the order in which they came, by the real `CallRunner`. Its methods are `run` (counts its token), `crash`, `take` (a value),
 * `make` (a value), `keep` (a value that stays its own, and gives the ref), and for tasks `nest`: it gives its CPUs back, waits for a task of its
 * own on its node, and goes on.
 */
export class SimWorker {
  readonly child: MemoryChild;
  readonly node: SimRaylet;
  readonly workerId: string;
  hosted: Hosted | undefined;
  tasks: TaskHosted | undefined;
  readonly #world: World;
  readonly #host: string;
  readonly #clock: ProcessClock;
  readonly #endpoint: WireEndpoint;
  readonly #listener: Listener;
  readonly objects: SimObjects;
  readonly #runner: CallRunner;
  #raylet: Peer | undefined;
  #queue: Promise<void> = Promise.resolve();

  constructor(world: World, node: SimRaylet, child: MemoryChild) {
    this.#world = world;
    this.node = node;
    this.child = child;
    const { env } = child.spec;
    this.workerId = env["WHIPRAY_WORKER_ID"]!;
    this.#host = `${node.machine}/${this.workerId}`;
    this.#clock = new ProcessClock(world.clock);
    this.#endpoint = new WireEndpoint({
      ...world.services(this.#host, this.#clock),
      address: `${node.nodeId}/${this.workerId}`,
      role: "worker",
      token: "",
      pid: child.pid,
      transport: world.network.at(this.#host, this.#clock),
      admit: () => {},
    });
    this.#listener = world.network.listen(env["WHIPRAY_SOCKET"]!, this.#host, (channel) =>
      this.#endpoint.accept(channel),
    );
    this.objects = this.#objectsOf(`memory:${env["WHIPRAY_RAYLET_SOCKET"]!}`);
    this.#runner = new CallRunner(this.objects.revive, this.objects.access, {});
    this.#endpoint.serve(actorHost, (request) => this.#become(request));
    this.#endpoint.serve(taskHost, (request) => {
      this.tasks = request;
      this.#world.history.hostedTasks(this, request.devices);
      return null;
    });
    this.#endpoint.serve(workerExit, () => {
      this.#clock.after(0, () => child.exit({ code: 0, signal: null }));
      return null;
    });
    this.#endpoint.onCall((call) => this.#enter(call));
    void child.exited.then(() => this.#gone());
    this.#clock.after(world.random.next() * START_MS, () => this.#begin(env["WHIPRAY_RAYLET_SOCKET"]!));
  }

  get running(): boolean {
    return this.child.running;
  }

  #begin(rayletSocket: string): void {
    const raylet = this.#endpoint.connect({
      to: `${this.node.nodeId}/raylet`,
      url: `memory:${rayletSocket}`,
      purpose: "control",
    });
    this.#raylet = raylet;
    raylet.onClose(() => this.child.exit({ code: 0, signal: null }));
    const ready = { workerId: this.workerId, pid: this.child.pid, socket: this.child.spec.env["WHIPRAY_SOCKET"]! };
    raylet.invoke(workerReady, ready).catch(() => this.child.exit({ code: 1, signal: null }));
  }

  async #become(request: Hosted): Promise<null> {
    this.hosted = request;
    this.#world.history.hosted(this, this.#world.clock.now());
    await new Promise<void>((resolve) => this.#clock.after(this.#world.random.next() * CONSTRUCT_MS, resolve));
    return null;
  }

  #enter(call: IncomingCall): void {
    const { hosted } = this;
    if (!hosted && !this.tasks) {
      call.fail(
        new WhiprayError({ code: "ACTOR_NOT_FOUND", message: "This worker hosts no actor yet", retryable: true }),
      );
      return;
    }
    if (call.epoch !== undefined && call.epoch !== hosted?.epoch) {
      const message = `The call means epoch ${call.epoch}, here runs epoch ${hosted?.epoch}`;
      call.fail(new WhiprayError({ code: "STALE_EPOCH", message, retryable: true }));
      return;
    }
    this.#queue = this.#queue.then(() => (call.signal.aborted ? call.fail(call.signal.reason) : this.#run(call)));
  }

  async #run(call: IncomingCall): Promise<void> {
    const method: Method | undefined = this.#methods[call.method];
    const what = this.hosted?.spec.actorId ?? "task";
    await this.#runner.run(
      call,
      (...args: unknown[]) => {
        const [token, lane, place, ms, ...more] = args as [string, string, number, number, ...unknown[]];
        this.#world.history.ran(token, `${what} ${this.workerId} ${lane}`, place);
        return method!(token, ms, ...more);
      },
      undefined,
    );
  }

  readonly #methods: Readonly<Record<string, Method>> = {
    run: async (token, ms) => {
      if (ms > 0) await delay(this.#clock, ms);
      return this.#answer(token);
    },
    crash: async () => {
      this.child.exit({ code: 1, signal: null });
      return new Promise<never>(() => {});
    },
    nest: async (token, ms) => {
      await this.#nest(token, ms);
      return this.#answer(token);
    },
    take: async (token, ms, value) => {
      const array = value as Uint32Array;
      this.objects.use(array);
      if (ms > 0) await delay(this.#clock, ms);
      const what = marked(array);
      await this.objects.leave(array, this.#world.random.next() < RELEASES);
      return { ...this.#answer(token), ...what };
    },
    make: async (_token, ms, mark, words) => {
      if (ms > 0) await delay(this.#clock, ms);
      return valueWith({ mark, words } as Marked);
    },
    keep: async (_token, _ms, mark, words) => this.objects.put({ mark, words } as Marked),
  };

  #answer(token: string): { token: string; pid: number; epoch: number; workerId: string } {
    return { token, pid: this.child.pid, epoch: this.hosted?.epoch ?? 0, workerId: this.workerId };
  }

  #objectsOf(rayletUrl: string): SimObjects {
    const { node, child } = this;
    const endpoint = this.#endpoint;
    const { ids, clock, logger } = this.#world.services(this.#host, this.#clock);
    const home = { address: `${node.nodeId}/raylet`, url: rayletUrl, local: true };
    let client: ReturnType<typeof openObjectClient> | undefined;
    const parts = { endpoint, ids, clock, logger, mapper: node.mapper, home };
    const open = () => openObjectClient({ ...parts, garbage: this.objects.garbage, urlOf: async () => HEAD_URL });
    return new SimObjects({
      ...{ process: this.#host, endpoint, clock, ids, viaUrl: rayletUrl, history: this.#world.history },
      access: { client: () => (client ??= open()) },
      isAlive: () => child.running,
    });
  }

  /** A task of its own on this node, which takes `ms`. */
  async #nest(token: string, ms: number): Promise<void> {
    const { jobId, namespace } = this.tasks!;
    const raylet = this.#raylet!;
    const leaseId = this.#world.ids.next("lease");
    await raylet.invoke(taskBlocked, { blocked: true });
    try {
      const ask = { leaseId, jobId, namespace, units: toUnits({ CPU: 1 }, "a nested task"), bundleIndex: -1 };
      const limit = { timeoutMs: NESTED_LIMIT_MS };
      const own = { nodeId: this.node.nodeId, nodeSoft: false };
      const { lease } = await raylet.invoke(taskLease, { ...ask, ...own, env: {}, isolation: "env" }, limit);
      if (!lease) throw new WhiprayError({ code: "NO_NODE", message: "a nested task was sent elsewhere" });
      const peer = this.#endpoint.connect({ to: lease.address, url: `memory:${lease.socket}`, purpose: "data" });
      await peer.call("run", encodeValues([`${token}/nested`, leaseId, 0, ms]), limit);
    } finally {
      void raylet.invoke(taskRelease, { leaseId }).catch(() => {}); // with its raylet gone the lease is too
      await raylet.invoke(taskBlocked, { blocked: false });
    }
  }

  #gone(): void {
    this.#world.history.ended(this, this.#world.clock.now());
    this.#clock.kill();
    void this.#listener.close();
    this.#world.network.cut((host) => host === this.#host);
  }
}
