import type { WhiprayError } from "@whipray/core";
import { type CallCanceller, sparesChildren } from "@whipray/rpc";

/** Reasons that end what a call made; the end of its caller's session is none: an actor outlives its callers. */
const ENDING: ReadonlySet<string> = new Set(["CANCELLED", "DEADLINE_EXCEEDED"]);

/** A call that another one made. */
export interface Child {
  cancel(): void;
}

/** The calls that one running call made and that are not done yet: they are cancelled with it, unless they are spared (Ray: recursive). */
export class Children {
  readonly #cancellable = new Set<Child>();

  constructor(call: CallCanceller) {
    call.onAbort((reason) => this.#aborted(reason));
  }

  /** Returns the undo, for when it is done. */
  add(child: Child): () => void {
    this.#cancellable.add(child);
    return () => this.#cancellable.delete(child);
  }

  #aborted(reason: WhiprayError): void {
    if (!ENDING.has(reason.code) || sparesChildren(reason)) return;
    for (const child of this.#cancellable) child.cancel();
  }
}
