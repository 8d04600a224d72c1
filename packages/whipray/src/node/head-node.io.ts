import { type Logger, randomIds, silentLogger, systemClock, systemRandom } from "@whipray/core";
import { Head, MemoryStore, networkProber, SqliteStore } from "@whipray/head";
import {
  dialTransport,
  type Listener,
  listenUnix,
  listenWebSocket,
  type ServerCertificate,
  WireEndpoint,
  withPin,
} from "@whipray/rpc";
import { acceptedByHead, admitOnly, type ClusterTokens, clusterTokens, roleOf } from "./access.ts";
import { requireSafe } from "./safe-bind.ts";

export interface HeadNodeOptions {
  /** The cluster's secret: 64 hex digits. Tokens of all roles come from it. */
  secret: string;
  clusterId: string;
  /** Unix socket for processes of this machine. */
  socket: string;
  /** TCP port for everybody else; without it there is none. */
  listen?:
    | {
        host: string;
        port: number;
        /** Speaks TLS with it; its pin is in the head's URL. */
        tls?: ServerCertificate | undefined;
        allowedHosts?: readonly string[];
        /** Allows a bind beyond loopback without TLS. */
        insecurePlaintext?: boolean | undefined;
      }
    | undefined;
  /** Journal file; without it a restart forgets. */
  journal?: string | undefined;
  logger?: Logger | undefined;
}

export interface HeadNode {
  readonly head: Head;
  readonly tokens: ClusterTokens;
  readonly clusterId: string;
  readonly unixUrl: string;
  /** Of the TCP port; with its pin where it speaks TLS. */
  readonly url: string | undefined;
  stop(): Promise<void>;
}

/** Starts a head with its sockets. @throws WhiprayError `ADDRESS_IN_USE`, `INVALID_PATH`, `STORAGE_…`, `INSECURE_BIND`. */
export async function startHeadNode(options: HeadNodeOptions): Promise<HeadNode> {
  const { secret, clusterId, socket, listen, journal, logger = silentLogger } = options;
  const tokens = clusterTokens(secret);
  const accepted = acceptedByHead(tokens);
  const store = journal === undefined ? new MemoryStore() : new SqliteStore(journal);
  const listeners: Listener[] = [];
  const close = async (): Promise<void> => {
    await Promise.all(listeners.map((listener) => listener.close()));
  };
  const services = { clock: systemClock, ids: randomIds(), random: systemRandom, logger };
  const endpoint = new WireEndpoint({
    ...services,
    address: "head/head",
    role: "head",
    token: "",
    cluster: clusterId,
    pid: process.pid,
    transport: dialTransport(),
    admit: admitOnly(accepted),
    // The head relays: to drivers over their own connection, to a node over its raylet's.
    route: (to) => {
      const node = to.slice(0, to.indexOf("/"));
      return { accepted: node === "head" ? to : `${node}/raylet` };
    },
    onLinkLost: ({ role, address, purpose }) => {
      if (purpose !== "control") return;
      if (role === "raylet") head.linkLost(address.slice(0, address.indexOf("/")));
      else if (role === "driver") head.driverLinkLost(address);
    },
  });
  const { driver, worker, raylet } = accepted;
  const peerTokens = Object.fromEntries(
    Object.entries({ driver, worker, raylet }).filter(([, digest]) => digest !== undefined),
  ) as Record<string, string>;
  const head = new Head({ ...services, endpoint, store, options: { clusterId, peerTokens, prober: networkProber() } });
  try {
    await head.start();
    listeners.push(await listenUnix(socket, (channel) => endpoint.accept(channel)));
    if (listen) {
      const { host, port, tls, allowedHosts = [], insecurePlaintext = false } = listen;
      requireSafe(host, tls !== undefined || insecurePlaintext);
      const names = ["localhost", "127.0.0.1", "[::1]", ...allowedHosts];
      listeners.push(
        await listenWebSocket({
          host,
          port,
          tls,
          allowedHosts: names,
          logger,
          authorize: roleOf(accepted),
          onChannel: (channel) => endpoint.accept(channel),
        }),
      );
    }
  } catch (error) {
    await close();
    await endpoint.close();
    await head.stop();
    throw error;
  }
  return {
    head,
    tokens,
    clusterId,
    unixUrl: `unix:${socket}`,
    url: listeners[1] && (listen?.tls ? withPin(listeners[1].url, listen.tls.pin) : listeners[1].url),
    async stop() {
      await close();
      await head.stop();
      await endpoint.close();
    },
  };
}
