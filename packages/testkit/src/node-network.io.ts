import { spawnSync } from "node:child_process";
import { existsSync, readlinkSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { systemRandom, WhiprayError } from "@whipray/core";
import { type CablePlan, cablePlans, NETWORKS, overlaps } from "./network-plan.ts";

/** Which direction of a cable loses everything. */
export type Direction = "toNode" | "fromNode";

/** An interface that nobody has: frames to it vanish without a word, as on a broken switch. */
const NOBODY = "02:00:00:00:00:01";

/** One veth pair between this machine and a node's network namespace, which a test can break. */
export class Cable implements CablePlan {
  readonly hostLink: string;
  readonly nodeLink: string;
  readonly hostAddress: string;
  readonly nodeAddress: string;
  readonly #node: () => number;

  /** @param node the raylet, as this process sees it */
  constructor(plan: CablePlan, node: () => number) {
    this.hostLink = plan.hostLink;
    this.nodeLink = plan.nodeLink;
    this.hostAddress = plan.hostAddress;
    this.nodeAddress = plan.nodeAddress;
    this.#node = node;
  }

  /** Sets the node's end down: no carrier on ours, no route on its own. Connections that were open stay so, and hear nothing. */
  unplug(): void {
    this.#inNode("link", "set", this.nodeLink, "down");
  }

  plug(): void {
    this.#inNode("link", "set", this.nodeLink, "up");
  }

  /** From now on frames of this direction are lost silently, those of the other arrive. */
  lose(direction: Direction): void {
    const to = ["lladdr", NOBODY, "nud", "permanent", "dev"];
    if (direction === "fromNode") this.#inNode("neigh", "replace", this.hostAddress, ...to, this.nodeLink);
    else ip("neigh", "replace", this.nodeAddress, ...to, this.hostLink);
  }

  /** Ends what `lose` did, if it did. */
  restore(direction: Direction): void {
    const flush = ["neigh", "flush", "nud", "permanent", "to"];
    if (direction === "fromNode") this.#inNode(...flush, this.hostAddress, "dev", this.nodeLink);
    else ip(...flush, this.nodeAddress, "dev", this.hostLink);
  }

  #inNode(...args: string[]): void {
    run(["nsenter", `--net=/proc/${this.#node()}/ns/net`, "ip", ...args]);
  }
}

/**
 * The network of a raylet with a network namespace of its own. It shares no loopback with anybody; two cables lead out, one to the
 * head and one to raylets and drivers, so that a test can take either away. All of it goes with the node's last process.
 */
export class NodeNetwork {
  readonly head: Cable;
  readonly peers: Cable;
  readonly #namespaces: string[] = [];
  #pid: number | undefined;

  /** @throws WhiprayError `LIMIT` when every network of the range is taken */
  constructor(prefix: string) {
    const [head, peers] = cablePlans(freeNetwork(), prefix);
    const node = (): number => {
      if (this.#pid !== undefined) return this.#pid;
      throw new WhiprayError({ code: "NETWORK", message: "its raylet has not been started" });
    };
    this.head = new Cable(head, node);
    this.peers = new Cable(peers, node);
  }

  get cables(): readonly Cable[] {
    return [this.head, this.peers];
  }

  /** All that it ever had, as the kernel names them (`net:[…]`): each start of the raylet makes a new one. */
  get namespaces(): readonly string[] {
    return this.#namespaces;
  }

  /** Both cables are whole again; nothing to do while its raylet does not run. */
  mend(): void {
    if (this.#pid === undefined || !existsSync(`/proc/${this.#pid}/ns/net`)) return;
    for (const cable of this.cables) {
      cable.plug();
      for (const direction of ["toNode", "fromNode"] as const) cable.restore(direction);
    }
  }

  /** Its raylet runs, in a new namespace. @param pid as this process sees it */
  up(pid: number): void {
    this.#pid = pid;
    this.#namespaces.push(readlinkSync(`/proc/${pid}/ns/net`));
  }
}

/** A network of the range that no interface of this machine has. Chosen by chance: tests that start together do not agree. */
function freeNetwork(): number {
  const taken = Object.values(networkInterfaces()).flatMap((addresses) =>
    (addresses ?? []).map(({ address }) => address),
  );
  for (let tries = 0; tries < NETWORKS; tries++) {
    const index = systemRandom.below(NETWORKS);
    if (!taken.some((address) => overlaps(index, address))) return index;
  }
  throw new WhiprayError({ code: "LIMIT", message: `all ${NETWORKS} networks of the range for tests are taken` });
}

function ip(...args: string[]): void {
  run(["ip", ...args]);
}

function run(command: readonly string[]): void {
  const { status, stderr, error } = spawnSync(command[0]!, command.slice(1), { encoding: "utf8" });
  if (status === 0) return;
  const why = error?.message ?? stderr.trim();
  throw new WhiprayError({ code: "NETWORK", message: `${command.join(" ")}: ${why}` });
}
