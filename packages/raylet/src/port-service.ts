import type { Logger } from "@whipray/core";
import { type Endpoint, type Peer, portsLease, portsRelease } from "@whipray/rpc";
import type { HostedActors } from "./hosted-actors.ts";
import type { Ports } from "./ports.ts";

export interface PortServiceOptions {
  readonly endpoint: Endpoint;
  readonly actors: HostedActors;
  readonly ports: Ports;
  readonly ip: string;
  readonly logger: Logger;
}

/**
 * `ports.lease` and `ports.release`. A lease belongs to the actor that asked, under the name that it gave; what an actor did not
 * give back is given back when it ends, what another process did not, when its session ends.
 */
export class PortService {
  readonly #options: PortServiceOptions;
  /** Holder (actor or address) → names under which it holds ports. */
  readonly #owners = new Map<string, Set<string>>();

  constructor(options: PortServiceOptions) {
    this.#options = options;
    const { endpoint, ports, ip } = options;
    endpoint.serve(portsLease, async ({ count, owner }, call) => {
      const holder = this.#holder(call.peer);
      const leased = await ports.lease(count, name(holder, owner));
      // It may have ended while the ports were tested.
      if (this.#owners.has(holder)) this.#owners.get(holder)!.add(owner);
      else ports.release(name(holder, owner));
      return { ports: leased, ip };
    });
    endpoint.serve(portsRelease, ({ owner, ports: which }, call) => {
      ports.release(name(this.#holder(call.peer), owner), which);
      return {};
    });
  }

  #holder(peer: Peer): string {
    const actor = this.#options.actors.ofAddress(peer.address);
    const holder = actor?.spec.actorId ?? peer.address;
    if (!this.#owners.has(holder)) {
      this.#owners.set(holder, new Set());
      if (!actor) peer.onClose(() => this.releaseAll(holder));
    }
    return holder;
  }

  /** Gives back all ports of an actor, or of another process. */
  releaseAll(holder: string): void {
    const { ports, logger } = this.#options;
    for (const owner of this.#owners.get(holder) ?? []) {
      try {
        ports.release(name(holder, owner));
      } catch (error) {
        // The holder is gone either way; the leases go with this raylet at the latest.
        logger.error("ports were not given back", { holder, owner, error: String(error) });
      }
    }
    this.#owners.delete(holder);
  }
}

function name(holder: string, owner: string): string {
  return `${holder}/${owner}`;
}
