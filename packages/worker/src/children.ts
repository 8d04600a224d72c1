import type { WhiprayError } from "@whipray/core";
import { type CallCanceller, sparesChildren } from "@whipray/rpc";

/** Reasons that end what a call made; the end of its caller's session is none: an actor outlives its callers. */
const ENDING: ReadonlySet<string> = new Set(["CANCELLED", "DEADLINE_EXCEEDED"]);

/** The calls that one running call made and that are not done yet: they are cancelled with it, unless they are spared (Ray: recursive). */
export class Children {
  readonly #cancels = new Set<() => void>();

  constructor(call: CallCanceller) {
    call.onAbort((reason) => this.#aborted(reason));
  }

  /** Returns the undo, for when it is done. */
  add(cancel: () => void): () => void {
    this.#cancels.add(cancel);
    return () => this.#cancels.delete(cancel);
  }

  #aborted(reason: WhiprayError): void {
    if (!ENDING.has(reason.code) || sparesChildren(reason)) return;
    for (const cancel of this.#cancels) cancel();
  }
}
