import { randomIds, silentLogger, systemClock, systemRandom } from "@whipray/core";
import { dialTransport, type Method, type Peer, WireEndpoint } from "@whipray/rpc";

/** A reader of the cluster: a driver's token, but no job, so that nothing lives or dies with it. */
export interface HeadClient extends AsyncDisposable {
  ask<Request, Reply>(method: Method<Request, Reply>, request: Request): Promise<Reply>;
  /** Asks a raylet, through the head. */
  askRaylet<Request, Reply>(nodeId: string, method: Method<Request, Reply>, request: Request): Promise<Reply>;
  /** For streams. */
  readonly head: Peer;
  /** A raylet, through the head: for streams, and calls in their order. */
  raylet(nodeId: string): Peer;
}

export interface HeadClientOptions {
  url: string;
  token: string;
  pid: number;
  /** For reaching the head, and for each answer. */
  timeoutMs: number;
}

/** @throws WhiprayError `UNREACHABLE`, `UNAUTHENTICATED`, `TIMEOUT`. */
export async function connectHead({ url, token, pid, timeoutMs }: HeadClientOptions): Promise<HeadClient> {
  const services = { clock: systemClock, ids: randomIds(), random: systemRandom, logger: silentLogger };
  const address = `head/${services.ids.next("driver")}`;
  const endpoint = new WireEndpoint({ ...services, address, role: "driver", token, pid, transport: dialTransport() });
  const peer = (to: string, purpose: "control" | "data"): Peer => endpoint.connect({ to, url, purpose });
  try {
    await endpoint.reachable(url, "control", timeoutMs);
  } catch (error) {
    await endpoint.close();
    throw error;
  }
  return {
    ask: (method, request) => peer("head/head", "control").invoke(method, request, { timeoutMs }),
    askRaylet: (nodeId, method, request) => peer(`${nodeId}/raylet`, "data").invoke(method, request, { timeoutMs }),
    get head() {
      return peer("head/head", "data");
    },
    raylet: (nodeId) => peer(`${nodeId}/raylet`, "data"),
    [Symbol.asyncDispose]: () => endpoint.close(),
  };
}
