import type { LinkMatrix } from "@whipray/core";
import type { Device, DevicePlugin, Fingerprint, NodeDevices } from "@whipray/devices";
import type { LateProbe, MoreDevices } from "./late-devices.ts";
import type { NodeDevice } from "./node-identity.ts";

export interface NodeInventoryOptions {
  readonly plugins: readonly DevicePlugin[];
  /** Resources whose count somebody declared: that stands, whatever a probe says later. */
  readonly declared: Readonly<Record<string, number>>;
  /** What the start found. */
  readonly found: NodeDevices;
  /** Asks these vendors again. */
  readonly detect: (plugins: readonly DevicePlugin[]) => Promise<NodeDevices>;
  /** Devices in the words of the ledger. */
  readonly offer: (found: Pick<NodeDevices, "devices" | "links">) => {
    readonly devices: readonly NodeDevice[];
    readonly links: LinkMatrix | undefined;
  };
  /** Scalars of a node with these devices, in units. */
  readonly scalars: (devices: readonly NodeDevice[]) => Readonly<Record<string, number>>;
}

/** The devices of this machine, which become more when a probe that failed at the start tells later. */
export class NodeInventory implements LateProbe {
  readonly #options: NodeInventoryOptions;
  /** What the start found. */
  readonly found: NodeDevices;
  /** In the vendors' words. Grows in place: all parts hold this list. */
  readonly devices: Device[];
  /** The same devices, in the words of the ledger. Grows likewise. */
  readonly offered: NodeDevice[];
  /** Links of what the start found. */
  readonly links: LinkMatrix | undefined;
  #failed: readonly DevicePlugin[];
  #deviceLinks: NodeDevices["links"];
  #listener: (plugins: readonly DevicePlugin[], fingerprints: readonly Fingerprint[]) => void = () => {};

  constructor(options: NodeInventoryOptions) {
    const { plugins, declared, found, offer } = options;
    this.#options = options;
    this.devices = [...found.devices];
    this.found = found;
    this.#deviceLinks = found.links;
    const { devices, links } = offer(found);
    this.offered = [...devices];
    this.links = links;
    this.#failed = plugins.filter(({ resource }, at) => {
      return found.fingerprints[at]!.state === "unknown" && !Object.hasOwn(declared, resource);
    });
  }

  /** Scalars of the node with these devices, in units. */
  get scalars(): Readonly<Record<string, number>> {
    return this.#options.scalars(this.offered);
  }

  /** Whether every vendor has told, or somebody else has. */
  get complete(): boolean {
    return this.#failed.length === 0;
  }

  /** Called with the vendors that told late, when their devices are in the lists. */
  onMore(listener: (plugins: readonly DevicePlugin[], fingerprints: readonly Fingerprint[]) => void): void {
    this.#listener = listener;
  }

  async look(): Promise<{ more?: MoreDevices; again: boolean }> {
    const { detect, offer } = this.#options;
    const asked = this.#failed;
    const next = await detect(asked);
    this.#failed = asked.filter((_, at) => next.fingerprints[at]!.state === "unknown");
    const again = !this.complete;
    if (next.devices.length === 0) return { again };
    this.devices.push(...next.devices);
    this.#deviceLinks = [...this.#deviceLinks, ...next.links];
    const all = offer({ devices: this.devices, links: this.#deviceLinks });
    const devices = all.devices.slice(this.offered.length);
    this.offered.push(...devices);
    this.#listener(asked, next.fingerprints);
    return { again, more: { devices, links: all.links, scalars: this.scalars } };
  }
}
