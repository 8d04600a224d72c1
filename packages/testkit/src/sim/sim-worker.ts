import { WhiprayError } from "@whipray/core";
import type { MemoryChild } from "@whipray/raylet";
import {
  actorHost,
  decodeValues,
  encodeValues,
  type IncomingCall,
  type Infer,
  type Listener,
  WireEndpoint,
  workerExit,
  workerReady,
} from "@whipray/rpc";
import { ProcessClock } from "./process-clock.ts";
import type { SimRaylet } from "./sim-raylet.ts";
import type { World } from "./world.ts";

type Hosted = Infer<(typeof actorHost)["request"]>;

/** From the start of a process to its first words, at most. */
const START_MS = 60;
/** What a constructor takes, at most. */
const CONSTRUCT_MS = 40;

/**
 * The in-memory twin of a worker process (`@whipray/worker`): becomes one actor, refuses calls for another epoch, runs one call
 * at a time in the order in which they came. Its actor has the methods `run` (counts its token), `slow` and `crash`.
 */
export class SimWorker {
  readonly child: MemoryChild;
  readonly node: SimRaylet;
  readonly workerId: string;
  hosted: Hosted | undefined;
  readonly #world: World;
  readonly #host: string;
  readonly #clock: ProcessClock;
  readonly #endpoint: WireEndpoint;
  readonly #listener: Listener;
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
    this.#endpoint.serve(actorHost, (request) => this.#become(request));
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
    if (!hosted) {
      call.fail(
        new WhiprayError({ code: "ACTOR_NOT_FOUND", message: "This worker hosts no actor yet", retryable: true }),
      );
      return;
    }
    if (call.epoch !== undefined && call.epoch !== hosted.epoch) {
      const message = `The call means epoch ${call.epoch}, here runs epoch ${hosted.epoch}`;
      call.fail(new WhiprayError({ code: "STALE_EPOCH", message, retryable: true }));
      return;
    }
    this.#queue = this.#queue.then(() => (call.signal.aborted ? call.fail(call.signal.reason) : this.#run(call)));
  }

  async #run(call: IncomingCall): Promise<void> {
    const [token, lane, place, ms = 0] = decodeValues(call.parts) as [string, string, number, number?];
    const { actorId } = this.hosted!.spec;
    this.#world.history.ran(token, `${actorId} ${this.workerId} ${lane}`, place);
    if (call.method === "crash") {
      this.child.exit({ code: 1, signal: null });
      return;
    }
    if (ms > 0) await new Promise<void>((resolve) => this.#clock.after(ms, resolve));
    call.reply(encodeValues({ token, pid: this.child.pid, epoch: this.hosted!.epoch, workerId: this.workerId }));
  }

  #gone(): void {
    this.#world.history.ended(this, this.#world.clock.now());
    this.#clock.kill();
    void this.#listener.close();
    this.#world.network.cut((host) => host === this.#host);
  }
}
