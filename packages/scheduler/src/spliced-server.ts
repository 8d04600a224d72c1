import type { Clock } from "@whipray/core";
import type { CallOptions, ItemStream, Parts } from "@whipray/rpc";
import type { ServerHandle } from "./cluster.ts";
import { type DoorDialer, Splice } from "./splice.ts";

/** Methods that act on the engine in the order of its calls. All others are answered at any time. */
const ORDERED: ReadonlySet<string> = new Set(["callFetching", "createEngine", "setEnv", "configure"]);

/** An RPC server whose callers go straight to its engine hosts where they can (`Splice`). */
export function splicedServer(server: ServerHandle, dialer: DoorDialer, clock: Clock): ServerHandle {
  const callServer = (method: string, parts: Parts, options: CallOptions) => server.call(method, parts, options);
  const main = new Splice(callServer, dialer, clock);
  const forks = new Map<string, Splice>();

  /** The host that a raw method means: `call@role/0`. */
  const spliceOf = (host: string): Splice => {
    if (host === "") return main;
    const splice = forks.get(host) ?? new Splice(callServer, dialer, clock, host);
    forks.set(host, splice);
    return splice;
  };

  return {
    call(method, parts, options = {}) {
      if (method === "call") return main.call(parts, options);
      const at = method.indexOf("@");
      const [name, host] = at < 0 ? [method, ""] : [method.slice(0, at), method.slice(at)];
      if (name === "call") return spliceOf(host).call(parts, options);
      if (ORDERED.has(name)) return spliceOf(host).ordered(method, parts, options);
      if (name !== "destroy") return server.call(method, parts, options);
      const arrived = Promise.all([...forks.values()].map((fork) => fork.fence()));
      return arrived.then(() => main.ordered(method, parts, options));
    },
    async *stream(method, parts, options = {}): ItemStream & AsyncGenerator<Parts, Parts | undefined> {
      const at = method.indexOf("@");
      const splice = spliceOf(at < 0 ? "" : method.slice(at));
      const peer = splice.straight;
      return yield* peer
        ? splice.items(peer, parts, options)
        : splice.itemsByServer(server.stream(method, parts, options));
    },
    ready: (options) => server.ready(options),
    row: () => server.row(),
    kill: () => server.kill(),
  };
}
