import {
  bundleCommit,
  bundlePrepare,
  bundleRelease,
  type DeathCause,
  type Endpoint,
  type NodeView,
} from "@whipray/rpc";
import type { ActorService } from "./actor-service.ts";
import type { GrantLook } from "./grant-look.ts";
import type { HeadLink } from "./head-link.ts";
import type { HostedActors } from "./hosted-actors.ts";
import type { Ledger } from "./ledger.ts";
import type { TaskService } from "./task-service.ts";

export interface BundleServiceOptions {
  readonly endpoint: Endpoint;
  readonly head: HeadLink;
  readonly ledger: Ledger;
  readonly actors: HostedActors;
  readonly actorService: ActorService;
  readonly tasks: TaskService;
  /** Looks at devices before they are reserved. */
  readonly grants?: GrantLook | undefined;
}

/** The two phases of bundles, for the head: `bundle.prepare`, `bundle.commit`, `bundle.release` (ray.md 2.2). */
export class BundleService {
  readonly #options: BundleServiceOptions;

  constructor(options: BundleServiceOptions) {
    this.#options = options;
    const { endpoint, ledger, head } = options;
    endpoint.serve(bundlePrepare, ({ pgId, epoch, nodeEpoch, bundles }) =>
      head.inTurn(nodeEpoch, async () => {
        const added = bundles.map(({ index }) => index).filter((index) => !ledger.devicesIn(pgId, index));
        const answer = ledger.prepare(pgId, epoch, bundles);
        const reason = answer.ok ? await this.#refusal(pgId, epoch, added) : answer.reason;
        if (reason === undefined) return { ok: true, view: ledger.view() };
        return { ok: false, reason: reason.slice(0, 1_024), view: ledger.view() };
      }),
    );
    endpoint.serve(bundleCommit, ({ pgId, epoch, indices }) =>
      head.inTurn(undefined, async () => {
        ledger.commit(pgId, epoch, indices);
        head.viewChanged();
        return { view: ledger.view() };
      }),
    );
    endpoint.serve(bundleRelease, ({ pgId, epoch, indices }) =>
      head.inTurn(undefined, async () => ({ view: await this.release(pgId, epoch, indices) })),
    );
  }

  /** Why bundles that were taken just now are given back: a stranger uses a device of theirs. */
  async #refusal(pgId: string, epoch: number, indices: readonly number[]): Promise<string | undefined> {
    const { ledger, head, grants } = this.#options;
    const devices = indices.flatMap((index) => ledger.devicesIn(pgId, index) ?? []);
    const busy = devices.length > 0 ? await grants?.refusal(devices) : undefined;
    if (busy === undefined) return undefined;
    ledger.close(pgId, epoch, indices);
    ledger.releaseBundles(pgId, indices);
    head.viewChanged();
    return busy;
  }

  /** Ends what runs inside, then gives the bundles back. */
  async release(pgId: string, epoch: number, indices?: readonly number[]): Promise<NodeView> {
    const { ledger, actors, actorService, tasks, head } = this.#options;
    const cause: DeathCause = { kind: "GROUP_REMOVED", message: `its placement group ${pgId} was removed` };
    const closed = ledger.close(pgId, epoch, indices);
    const inside = closed.leaseIds.map((leaseId) => actors.ofLease(leaseId));
    await Promise.all([
      ...inside.map((actor) => actor && actorService.end(actor, cause, 0)),
      ...closed.leaseIds.map((leaseId) => tasks.end(leaseId, cause)),
    ]);
    tasks.bundlesGone(pgId, closed.indices);
    ledger.releaseBundles(pgId, closed.indices);
    head.viewChanged();
    return ledger.view();
  }
}
