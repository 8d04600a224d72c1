import { WhiprayError } from "@whipray/core";
import {
  type Endpoint,
  type IncomingCall,
  type Infer,
  type Peer,
  terminalAttach,
  terminalDetach,
  terminalResize,
  terminalWrite,
} from "@whipray/rpc";
import { replayable } from "./replay.ts";
import { KEYS_LIMIT_BYTES, type Terminal } from "./terminal.ts";
import { TerminalSeats } from "./terminal-seats.ts";
import { ViewerStream } from "./viewer-stream.ts";

type Attach = Infer<(typeof terminalAttach)["request"]>;

/** A process that may have a terminal. */
export interface Attachable {
  readonly process: string;
  readonly terminal: Terminal | undefined;
  /** Resolves when it has ended and its last words were shown, with how. */
  readonly ended: Promise<string>;
}

export interface TerminalServiceOptions {
  readonly endpoint: Endpoint;
  readonly nodeId: string;
  /**
   * The engines that a name stands for: an engine's id, or that of its actor or worker. `log` is the process whose log tells most when
   * none has a terminal. Undefined when nothing of that name runs here.
   */
  readonly find: (name: string) => { readonly engines: readonly Attachable[]; readonly log: string } | undefined;
}

interface Viewer {
  readonly peer: Peer;
  readonly stream: ViewerStream;
  readonly seats: TerminalSeats;
  readonly terminal: Terminal;
  leave(): void;
}

/** `terminal.attach`, `terminal.write`, `terminal.resize`, `terminal.detach`: viewers of the pseudo-terminals of this node. */
export class TerminalService {
  readonly #options: TerminalServiceOptions;
  readonly #viewers = new Map<number, Viewer>();
  readonly #seats = new Map<Terminal, TerminalSeats>();
  /** Bytes that were typed and not taken yet. They stay when who typed them leaves. */
  readonly #keys = new WeakMap<Terminal, number>();
  #lastViewer = 0;

  constructor(options: TerminalServiceOptions) {
    this.#options = options;
    const { endpoint } = options;
    endpoint.serveRaw(terminalAttach, (request, call) => this.#attach(request, call));
    endpoint.serve(terminalWrite, ({ viewer, data }, call) => {
      const { seats, terminal } = this.#viewer(viewer, call.peer);
      seats.requireWriter(viewer);
      return this.#type(terminal, data);
    });
    endpoint.serve(terminalResize, ({ viewer, columns, rows }, call) => {
      const { seats, terminal } = this.#viewer(viewer, call.peer);
      if (seats.writer?.viewer === viewer) terminal.resize(columns, rows);
    });
    endpoint.serve(terminalDetach, ({ viewer }, call) => {
      const { leave, stream } = this.#viewer(viewer, call.peer);
      leave();
      stream.end("detached");
    });
  }

  /** Viewers of all terminals. */
  get count(): number {
    return this.#viewers.size;
  }

  #attach(request: Attach, call: IncomingCall): void {
    requireDriver(call);
    const { process, terminal, ended } = this.#find(request.process);
    const seats = this.#seats.get(terminal) ?? new TerminalSeats(process);
    const viewer = ++this.#lastViewer;
    // Who cannot be reached now does not hold the keyboard until its session is given up; one that comes back watches.
    const absent = seats.writer !== undefined && this.#viewers.get(seats.writer.viewer)?.peer.hasRoute !== true;
    const deposed = seats.take({ viewer, who: request.who }, request.mode, request.steal || absent);
    this.#seats.set(terminal, seats);
    if (deposed) this.#viewers.get(deposed.viewer)?.stream.tell({ mode: "watch", by: request.who });
    const stream = new ViewerStream(call, () => this.#viewers.get(viewer)?.leave());
    stream.tell({ viewer, process, mode: request.mode });
    stream.show(replayable(terminal.scrollback()));
    const unlisten = terminal.onData((data) => stream.show(data));
    const leave = (): void => {
      unlisten();
      this.#viewers.delete(viewer);
      seats.leave(viewer);
      if (seats.size === 0) this.#seats.delete(terminal);
    };
    this.#viewers.set(viewer, { peer: call.peer, stream, seats, terminal, leave });
    const { columns, rows } = request;
    if (request.mode === "write" && columns !== undefined && rows !== undefined) terminal.resize(columns, rows);
    void ended.then((reason) => {
      leave();
      stream.end(reason);
    });
  }

  /**
   * Answers when the terminal has taken the keys, so that who types sees what waits.
   * @throws WhiprayError `KEYS_NOT_READ` when too much waits already.
   */
  async #type(terminal: Terminal, keys: Uint8Array): Promise<void> {
    const waitingBytes = this.#keys.get(terminal) ?? 0;
    if (waitingBytes + keys.length > KEYS_LIMIT_BYTES) {
      throw new WhiprayError({
        code: "KEYS_NOT_READ",
        message: `${keys.length} bytes were not typed: the process reads nothing, and ${waitingBytes} wait already (limit ${KEYS_LIMIT_BYTES})`,
        details: { bytes: keys.length, waitingBytes, limit: KEYS_LIMIT_BYTES },
      });
    }
    this.#keys.set(terminal, waitingBytes + keys.length);
    await terminal.write(keys);
    this.#keys.set(terminal, this.#keys.get(terminal)! - keys.length);
  }

  #find(name: string): Attachable & { terminal: Terminal } {
    const shown = JSON.stringify(name.slice(0, 80));
    const found = this.#options.find(name);
    if (!found) {
      const message = `No engine, actor or worker ${shown} runs on ${this.#options.nodeId}`;
      throw new WhiprayError({ code: "NOT_FOUND", message, details: { process: name.slice(0, 80) } });
    }
    const [first, ...more] = found.engines.filter((engine) => engine.terminal);
    if (!first?.terminal) {
      const message = `${found.log} has no pseudo-terminal: its engine was not started with pty: true, or not yet`;
      throw new WhiprayError({ code: "NO_TERMINAL", message, details: { follow: found.log } });
    }
    if (more.length > 0) {
      const engines = [first, ...more].map(({ process }) => process);
      const message = `${shown} has ${engines.length} engines with a terminal; name one: ${engines.join(", ")}`;
      throw new WhiprayError({ code: "AMBIGUOUS", message, details: { engines } });
    }
    return { ...first, terminal: first.terminal };
  }

  /** @throws WhiprayError `NOT_FOUND` for a number that is not, or no more, this peer's. */
  #viewer(viewer: number, peer: Peer): Viewer {
    const found = this.#viewers.get(viewer);
    if (found?.peer === peer) return found;
    throw new WhiprayError({ code: "NOT_FOUND", message: `${peer.address} is not attached as viewer ${viewer}` });
  }
}

/** Terminals are for people: what runs in the cluster has no business at another's keyboard. */
export function requireDriver(call: IncomingCall): void {
  if (!call.wantsStream) {
    throw new WhiprayError({ code: "INVALID_ARGUMENT", message: `${call.method} is a stream; call it as one` });
  }
  if (call.peer.role === "driver") return;
  throw new WhiprayError({ code: "FORBIDDEN", message: `${call.method} is for drivers, not for a ${call.peer.role}` });
}
