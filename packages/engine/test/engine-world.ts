import { type Clock, randomIds, seededRandom, silentLogger, systemClock, WhiprayError } from "@whipray/core";
import {
  type DeathCause,
  dialTransport,
  type EngineStart,
  engineEnded,
  engineStart,
  engineStop,
  type Hello,
  MemoryNetwork,
  type Role,
  tokenMatches,
  WireEndpoint,
} from "@whipray/rpc";
import type { EngineLauncher } from "../src/index.ts";

export const NODE = "node_a";
export const ACTOR = "actor_a";

/** A raylet, a worker that launches, and engines, in one process over a memory network. */
export class EngineWorld {
  readonly network = new MemoryNetwork(systemClock);
  readonly ids = randomIds();
  readonly raylet: WireEndpoint;
  readonly worker: WireEndpoint;
  readonly launcher: EngineLauncher;
  readonly engines = new Map<string, WireEndpoint>();
  readonly starts: EngineStart[] = [];
  readonly stops: { engineId: string; graceMs: number }[] = [];
  /** What the raylet does with a start; by default an engine that dials back. */
  onStart: (request: EngineStart) => unknown = (request) => this.engine(request);
  /** Handles the calls of engines that `engine` made. */
  serveEngine: (endpoint: WireEndpoint) => void = () => {};

  constructor(launcherClock: Clock = systemClock) {
    const expected = new Map<string, { digest: string; onLink: () => void }>();
    this.raylet = this.#endpoint(`${NODE}/raylet`, "raylet", "raylet", () => {});
    this.worker = this.#endpoint(
      `${NODE}/worker_a`,
      "worker",
      "worker",
      (hello) => {
        const digest = expected.get(hello.address)?.digest;
        if (hello.role === "engine" && !(digest && tokenMatches(hello.token, digest))) {
          throw new WhiprayError({ code: "UNAUTHENTICATED", message: "Wrong token" });
        }
      },
      (address) => expected.get(address)?.onLink(),
    );
    this.network.listen("raylet", (channel) => this.raylet.accept(channel));
    this.network.listen("worker", (channel) => this.worker.accept(channel));
    this.raylet.serve(engineStart, async (request) => {
      this.starts.push(request);
      await this.onStart(request);
      return { pid: 4242, logPath: `/logs/${request.logName}.log` };
    });
    this.raylet.serve(engineStop, async (request) => {
      this.stops.push(request);
      await this.engines.get(request.engineId)?.close();
      return { found: this.engines.has(request.engineId), killed: 1, left: 0 };
    });
    this.launcher = {
      endpoint: this.worker,
      raylet: this.worker.connect({ to: `${NODE}/raylet`, url: "memory:raylet", purpose: "control" }),
      nodeId: NODE,
      actorId: ACTOR,
      epoch: 1,
      socket: "memory:worker",
      expectEngine: (engineId, digest, onLink) => {
        expected.set(`${NODE}/${engineId}`, { digest, onLink });
        return () => expected.delete(`${NODE}/${engineId}`);
      },
      clock: launcherClock,
      ids: this.ids,
    };
  }

  /** An engine process that dials as the request says. */
  async engine(request: EngineStart): Promise<WireEndpoint> {
    const endpoint = this.#endpoint(
      `${NODE}/${request.engineId}`,
      "engine",
      `engine-${request.engineId}`,
      () => {},
      undefined,
      request.token,
    );
    this.engines.set(request.engineId, endpoint);
    this.serveEngine(endpoint);
    await endpoint.reachable(request.socket, "data", 5_000);
    return endpoint;
  }

  /** Cuts the engine's connection, as the end of its process does. */
  cut(engineId: string): void {
    this.network.cut((from, to) => from === `engine-${engineId}` || to === `engine-${engineId}`);
  }

  /** The raylet tells the worker of an engine's end. */
  async tellEnded(engineId: string, cause: Partial<DeathCause>): Promise<void> {
    const peer = this.raylet.connect({ to: `${NODE}/worker_a`, url: "memory:worker", purpose: "control" });
    await peer.invoke(engineEnded, { engineId, cause: { kind: "WORKER_DIED", message: "the engine ended", ...cause } });
  }

  async close(): Promise<void> {
    for (const engine of this.engines.values()) await engine.close();
    await this.worker.close();
    await this.raylet.close();
  }

  #endpoint(
    address: string,
    role: Role,
    host: string,
    admit: (hello: Hello) => void,
    onEngine: ((address: string) => void) | undefined = undefined,
    token: string = role,
  ): WireEndpoint {
    return new WireEndpoint({
      address,
      role,
      token,
      clock: systemClock,
      ids: this.ids,
      random: seededRandom(1),
      logger: silentLogger,
      transport: dialTransport({ memory: this.network.at(host) }),
      admit,
      onLink: (identity) => {
        if (identity.role === "engine") onEngine?.(identity.address);
      },
    });
  }
}
