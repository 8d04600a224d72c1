import { type Clock, type Logger, WhiprayError } from "@whipray/core";
import type { Purpose } from "../call.ts";
import type { Introduction, LinkIdentity } from "../link/handshake.ts";
import { Link, type LinkEvents } from "../link/link.ts";
import type { Channel, Transport } from "../transport.ts";

export interface LinkPoolOptions {
  self: Introduction;
  transport: Transport;
  clock: Clock;
  logger: Logger;
  events: LinkEvents;
  /** A link was dialled to us and let in. */
  onAccepted?: ((identity: LinkIdentity) => void) | undefined;
  /** Such a link ended. */
  onLost?: ((identity: LinkIdentity) => void) | undefined;
}

/** The links of a process: dialled ones by URL and purpose, accepted ones by the address and purpose of their other side. */
export class LinkPool {
  readonly #options: LinkPoolOptions;
  readonly #dialed = new Map<string, Promise<Link>>();
  readonly #accepted = new Map<string, Link>();
  readonly #all = new Set<Link>();
  #closed = false;

  constructor(options: LinkPoolOptions) {
    this.#options = options;
  }

  /**
   * The link to `url`, dialled when there is none. `door`: token of an engine's door, said instead of this process' own, which no engine may learn.
   * @throws WhiprayError as `Transport.dial` and the handshake do.
   */
  dial(url: string, purpose: Purpose, door?: string): Promise<Link> {
    const key = `${purpose} ${url}`;
    const known = this.#dialed.get(key);
    if (known) return known;
    const dialing = this.#connect(url, purpose, key, door);
    this.#dialed.set(key, dialing);
    dialing.catch(() => this.#forget(key, dialing));
    return dialing;
  }

  async #connect(url: string, purpose: Purpose, key: string, door: string | undefined): Promise<Link> {
    const { transport, clock, logger, events } = this.#options;
    const self = door === undefined ? this.#options.self : { ...this.#options.self, token: door };
    const channel = await transport.dial(url, { token: self.token });
    if (this.#closed) {
      channel.destroy();
      throw new WhiprayError({ code: "GOODBYE", message: "The process closed its endpoint" });
    }
    const link = Link.dialed(
      { channel, self, clock, logger, events: this.#watched(events, () => this.#dialed.delete(key)) },
      purpose,
      door === undefined ? undefined : "engine",
    );
    this.#all.add(link);
    await link.ready;
    return link;
  }

  #forget(key: string, dialing: Promise<Link>): void {
    if (this.#dialed.get(key) === dialing) this.#dialed.delete(key);
  }

  /** Takes on a connection that came in. */
  accept(channel: Channel): void {
    const { self, clock, logger, events } = this.#options;
    let key = "";
    const watched = this.#watched(events, (link) => {
      if (key !== "") this.#options.onLost?.(link.identity);
      if (this.#accepted.get(key) === link) this.#accepted.delete(key);
    });
    const link = Link.accepted({ channel, self, clock, logger, events: watched });
    this.#all.add(link);
    link.ready.then(
      () => {
        key = acceptedKey(link.identity.address, link.identity.purpose);
        this.#accepted.set(key, link);
        this.#options.onAccepted?.(link.identity);
      },
      (error) => logger.debug("a connection was refused", { remote: channel.remote, error: String(error) }),
    );
  }

  /** The newest link that `address` dialled to us for this purpose. */
  accepted(address: string, purpose: Purpose): Link | undefined {
    return this.#accepted.get(acceptedKey(address, purpose));
  }

  /** Every link: tells the other side goodbye, sends what is queued, closes. Settles when all are closed. */
  async close(): Promise<void> {
    this.#closed = true;
    const gone = [...this.#all].map((link) => {
      link.goodbye();
      return link.gone;
    });
    await Promise.all(gone);
  }

  #watched(events: LinkEvents, gone: (link: Link) => void): LinkEvents {
    return {
      ...events,
      onClose: (link, error) => {
        this.#all.delete(link);
        gone(link);
        events.onClose(link, error);
      },
    };
  }
}

function acceptedKey(address: string, purpose: Purpose): string {
  return `${purpose} ${address}`;
}
