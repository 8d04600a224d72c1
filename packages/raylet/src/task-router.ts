import { matchesLabels, type ResourceUnits, TaskUnschedulableError } from "@whipray/core";
import type { DeviceInfo, TaskElsewhere, TaskLeaseAsk } from "@whipray/rpc";
import type { ClusterView } from "./cluster-view.ts";
import type { Ledger } from "./ledger.ts";
import { canEverHold, chooseNode, type NodeSpace, spaceWithout } from "./node-choice.ts";

export interface TaskRouterOptions {
  readonly nodeId: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Grows when devices tell late. */
  readonly total: () => ResourceUnits;
  readonly devices: readonly DeviceInfo[];
  readonly ledger: Ledger;
  readonly view: ClusterView;
}

/** What becomes of a request: it stays, for the reason `why` when never to be granted here, or its caller asks elsewhere. */
export type Route =
  | { readonly here: true; readonly why?: string }
  | { readonly here: false; readonly at: TaskElsewhere };

/** Which node's raylet grants a request for a task's worker: ours, or another one by the last view of the cluster. */
export class TaskRouter {
  readonly #options: TaskRouterOptions;
  #turn = 0;

  constructor(options: TaskRouterOptions) {
    this.#options = options;
  }

  /** Whether our own node may run it, however busy it is. */
  mayRunHere({ units, labels, fallback = [], nodeId, nodeSoft }: TaskLeaseAsk): boolean {
    const { nodeId: own, labels: ours } = this.#options;
    if (nodeId !== undefined && nodeId !== own && !nodeSoft) return false;
    const meets = nodeId === own || [labels, ...fallback].some((selector) => matchesLabels(ours, selector));
    return meets && canEverHold(this.#own(), units);
  }

  /**
   * By what is known now. A node that must be it and is not known is looked for once more before it counts as gone.
   * @throws TaskUnschedulableError when that node is gone or too small, and the head has just said so.
   */
  async route(ask: TaskLeaseAsk): Promise<Route> {
    const { view } = this.#options;
    // One that is spread has no reason to wait where it is, and so no other chance to see a newer view.
    if (ask.spread && !view.isFresh) await view.refreshSoon();
    const route = this.#choose(ask);
    if (!view.isFresh) {
      const newer = view.refresh();
      if (!isLost(ask, route)) return route;
      await newer;
      return this.#settled(ask, this.#choose(ask));
    }
    return this.#settled(ask, route);
  }

  #settled(ask: TaskLeaseAsk, route: Route): Route {
    if (!isLost(ask, route) || !this.#options.view.isFresh) return route;
    throw new TaskUnschedulableError({
      message: `The task can never run: ${route.here ? route.why : ""}`,
      details: { nodeId: ask.nodeId, units: ask.units },
    });
  }

  #choose(ask: TaskLeaseAsk): Route {
    const { view } = this.#options;
    const choice = chooseNode(ask, this.#own(), view.others, ask.spread ? this.#turn++ : 0);
    if (choice.go === "here") return { here: true };
    if (choice.go === "nowhere") return { here: true, why: choice.why };
    const { nodeId, url, socket, pidNamespace } = view.others.find((node) => node.nodeId === choice.nodeId)!;
    if (!choice.wait) view.sent(nodeId, ask.units);
    return {
      here: false,
      at: {
        ...{ nodeId, wait: choice.wait },
        ...(url !== undefined && { url }),
        ...(socket !== undefined && { socket }),
        ...(pidNamespace !== undefined && { pidNamespace }),
      },
    };
  }

  #own(): NodeSpace {
    const { nodeId, labels, total, devices: all, ledger } = this.#options;
    const { free, devices: shares } = ledger.view();
    const devices = all.map(({ uuid, resource }) => ({ resource, units: shares[uuid] ?? 0 }));
    return spaceWithout({ nodeId, labels: { ...labels }, total: total(), free, devices }, ledger.held);
  }
}

function isLost({ nodeId, nodeSoft }: TaskLeaseAsk, route: Route): boolean {
  return nodeId !== undefined && !nodeSoft && route.here && route.why !== undefined;
}
