import { chmodSync, lstatSync, mkdirSync, rmSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { dirname } from "node:path";
import { type Logger, silentLogger, WhiprayError } from "@whipray/core";
import { type Dialing, dialing, invalidAddress } from "./dialing.ts";
import { FramedChannel, linkBroken, type Pipe, type PipeEvents } from "./framed-channel.ts";
import { StreamOutbox } from "./stream-outbox.ts";
import type { Channel, DialOptions, Listener, Transport } from "./transport.ts";

/** Longest path of a unix socket: sun_path of Linux without its final NUL. */
export const UNIX_PATH_BYTES = 107;
/** Some hundred small frames. */
const EAGER_BYTES = 8_192;
/** Connections that may wait to be accepted. */
const BACKLOG = 512;

/** Dials `unix:/path`. */
export const unixTransport: Transport = {
  async dial(url: string, options: DialOptions = {}): Promise<Channel> {
    const path = unixPath(url);
    return dialing(url, options, (attempt: Dialing<Channel>) => {
      const socket = connect({ path });
      const channel = new FramedChannel((events) => new UnixPipe(socket, events));
      socket.once("connect", () => attempt.succeed(channel));
      socket.once("error", (error) => attempt.fail(error));
      return () => channel.destroy();
    });
  },
};

/**
 * Listens on a unix socket: 0600, in a directory that only this user may enter (made when it is missing). A socket file
 * that nobody listens on any more is replaced.
 *
 * @throws WhiprayError `ADDRESS_IN_USE` when somebody listens there; `INVALID_ADDRESS` for a path that is too long or not
 *   absolute; `INVALID_PATH` when the directory is open to others or something other than a socket lies there.
 */
export async function listenUnix(
  path: string,
  onChannel: (channel: Channel) => void,
  logger: Logger = silentLogger,
): Promise<Listener> {
  unixPath(`unix:${path}`);
  prepareDirectory(dirname(path));
  const server = createServer((socket) => onChannel(new FramedChannel((events) => new UnixPipe(socket, events))));
  if (!(await bind(server, path))) {
    if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() === false)
      throw invalidPath(path, "is not a socket; remove it or choose another path");
    if (await somebodyListens(path)) {
      throw new WhiprayError({
        code: "ADDRESS_IN_USE",
        message: `Another process listens on ${path}`,
        details: { path },
      });
    }
    rmSync(path, { force: true });
    if (!(await bind(server, path))) throw invalidPath(path, "was taken by another process just now");
  }
  // For example no file descriptor left for a new connection: those that exist go on.
  server.on("error", (error) => logger.error("accepting on a unix socket failed", { path, error: error.message }));
  chmodSync(path, 0o600);
  const inode = lstatSync(path).ino;
  return {
    url: `unix:${path}`,
    async close() {
      // Node removes the file; what another process put there meanwhile would go too, so look first.
      const now = lstatSync(path, { throwIfNoEntry: false });
      if (now === undefined || now.ino === inode) server.close();
      else server.unref();
    },
  };
}

class UnixPipe implements Pipe {
  readonly remote = "unix";
  readonly eagerBytes = EAGER_BYTES;
  readonly outbox = new StreamOutbox();
  readonly #socket: Socket;
  readonly #events: PipeEvents;
  #resumed = false;

  constructor(socket: Socket, events: PipeEvents) {
    this.#socket = socket;
    this.#events = events;
    let broken: WhiprayError | undefined;
    socket.on("error", (error) => {
      broken = linkBroken(`The unix socket broke: ${error.message}`, error);
    });
    socket.on("close", () => events.ended(broken));
  }

  get pendingBytes(): number {
    return this.#socket.writableLength;
  }

  write(): void {
    const buffers = this.outbox.take();
    const last = buffers.length - 1;
    if (last === 0) {
      this.#socket.write(buffers[0]!, this.#wrote);
      return;
    }
    this.#socket.cork();
    for (let i = 0; i <= last; i++) this.#socket.write(buffers[i]!, i === last ? this.#wrote : undefined);
    this.#socket.uncork();
  }

  #wrote = (): void => this.#events.wrote();

  resume(): void {
    if (this.#resumed) return;
    this.#resumed = true;
    this.#socket.on("data", (chunk: Buffer) => this.#events.received(chunk, false));
  }

  end(): void {
    this.resume();
    this.#socket.end();
  }

  destroy(): void {
    this.#socket.destroy();
  }
}

function unixPath(url: string): string {
  const path = url.replace(/^unix:(\/\/(?=\/))?/, "");
  if (!path.startsWith("/") || path.includes("\0") || Buffer.byteLength(path) > UNIX_PATH_BYTES) {
    throw invalidAddress(url, `must be unix: and an absolute path of at most ${UNIX_PATH_BYTES} bytes`);
  }
  return path;
}

function prepareDirectory(directory: string): void {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const { mode } = lstatSync(directory);
  if ((mode & 0o077) !== 0) throw invalidPath(directory, "is open to other users; chmod 0700 it");
}

/** False when the address is taken. */
function bind(server: Server, path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException): void => {
      if (error.code === "EADDRINUSE") resolve(false);
      else reject(new WhiprayError({ code: "INVALID_PATH", message: `Cannot listen on ${path}`, cause: error }));
    };
    server.once("error", onError);
    server.listen({ path, backlog: BACKLOG }, () => {
      server.removeListener("error", onError);
      resolve(true);
    });
  });
}

function somebodyListens(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code !== "ECONNREFUSED"));
  });
}

function invalidPath(path: string, rule: string): WhiprayError {
  return new WhiprayError({ code: "INVALID_PATH", message: `${path} ${rule}`, details: { path } });
}
