import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/** Somebody in between who only listens: a tunnel that keeps what goes through it. */
export class WireTap implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #heard: Buffer[] = [];

  private constructor(target: number) {
    this.#server = createServer((inner) => {
      const outer = connect(target, "127.0.0.1");
      for (const [socket, twin] of [
        [inner, outer],
        [outer, inner],
      ] as const) {
        this.#sockets.add(socket);
        socket.on("error", () => {}); // its close tells
        socket.on("close", () => twin.destroy());
        socket.on("data", (bytes: Buffer) => this.#heard.push(bytes));
        socket.pipe(twin);
      }
    });
  }

  static async on(target: number): Promise<WireTap> {
    const tap = new WireTap(target);
    await new Promise<void>((resolve) => tap.#server.listen(0, "127.0.0.1", resolve));
    return tap;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Every byte of both directions. */
  get heard(): Buffer {
    return Buffer.concat(this.#heard);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
