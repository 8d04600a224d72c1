import { connect, createServer, type Server, type Socket } from "node:net";
import { RayScheduler } from "@whipray/scheduler";
import { init } from "whipray";
import type { RealCluster } from "../src/real-cluster.io.ts";
import type { Stage } from "./stage.ts";

/** A driver whose only road to its cluster is a tunnel. */
export interface TunnelStage extends Stage, AsyncDisposable {
  readonly tunnel: Tunnel;
}

/** @param real as `startTunnelStage` makes it */
export async function throughTunnel(real: RealCluster): Promise<TunnelStage> {
  const tunnel = await Tunnel.to(real.address);
  const cluster = await init({ address: tunnel.address, token: real.token, namespace: "tunnel" });
  const scheduler = new RayScheduler({ cluster, destroyTimeoutMs: 2_000 });
  return {
    ...{ real, tunnel, cluster, scheduler },
    async [Symbol.asyncDispose]() {
      await scheduler[Symbol.asyncDispose]();
      await cluster.close();
      await tunnel[Symbol.asyncDispose]();
    },
  };
}

/** One TCP tunnel to a port, which a test can cut. */
export class Tunnel implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #cut = false;
  #refused = 0;
  #passedBytes = 0;
  readonly #waiting = new Set<{ untilBytes: number; resolve: () => void }>();

  private constructor(target: number) {
    this.#server = createServer((inner) => {
      if (this.#cut) {
        this.#refused++;
        inner.destroy();
        return;
      }
      const outer = connect(target, "127.0.0.1");
      for (const [socket, twin] of [
        [inner, outer],
        [outer, inner],
      ] as const) {
        this.#sockets.add(socket);
        socket.on("error", () => {}); // its close tells
        socket.on("close", () => {
          this.#sockets.delete(socket);
          twin.destroy();
        });
        socket.on("data", ({ length }: Buffer) => this.#count(length));
        socket.pipe(twin);
      }
    });
  }

  static async to(address: string): Promise<Tunnel> {
    const tunnel = new Tunnel(Number(new URL(`ws://${address}`).port));
    await new Promise<void>((resolve) => tunnel.#server.listen(0, "127.0.0.1", resolve));
    return tunnel;
  }

  get address(): string {
    const address = this.#server.address();
    return `127.0.0.1:${typeof address === "object" ? address?.port : ""}`;
  }

  /** Connections that go through it. */
  get open(): number {
    return this.#sockets.size / 2;
  }

  /** Tries while it was cut. */
  get refused(): number {
    return this.#refused;
  }

  /** What has gone through so far, both ways taken together. */
  get passedBytes(): number {
    return this.#passedBytes;
  }

  /** Settles at the moment when so many more bytes have gone through, both ways taken together. */
  passing(bytes: number): Promise<void> {
    return new Promise((resolve) => this.#waiting.add({ untilBytes: this.#passedBytes + bytes, resolve }));
  }

  /** Resets what goes through, and whoever comes. */
  cut(): void {
    this.#cut = true;
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  restore(): void {
    this.#cut = false;
  }

  #count(bytes: number): void {
    this.#passedBytes += bytes;
    for (const one of this.#waiting) {
      if (this.#passedBytes < one.untilBytes) continue;
      this.#waiting.delete(one);
      one.resolve();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}
