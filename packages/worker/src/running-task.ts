import { type IncomingCall, type TaskFunction, taskIdOf } from "@whipray/rpc";
import type { CallContext } from "./context.ts";

/** The task that runs in this process now, as its own code sees it. */
export class RunningTask implements CallContext {
  readonly function: TaskFunction;
  readonly #call: IncomingCall;
  #children: Set<() => void> | undefined;
  #spared = false;

  constructor(call: IncomingCall, exported: TaskFunction) {
    this.#call = call;
    this.function = exported;
  }

  /** Its name. */
  get method(): string {
    return this.#call.method.split(":")[2] ?? this.function.name;
  }

  get signal(): AbortSignal {
    return this.#call.signal;
  }

  get taskId(): string {
    const { method, peer } = this.#call;
    return taskIdOf(peer.incarnation, method.split(":")[1] ?? "");
  }

  /** Who owns what it returns. */
  get caller(): IncomingCall["peer"] {
    return this.#call.peer;
  }

  /** `cancel` is called when this task is cancelled, unless its children are spared (Ray: recursive). Returns the undo. */
  onCancel(cancel: () => void): () => void {
    if (!this.#children) {
      const children = new Set<() => void>();
      this.#children = children;
      this.#call.onAbort(() => {
        if (!this.#spared) for (const child of children) child();
      });
    }
    this.#children.add(cancel);
    return () => this.#children?.delete(cancel);
  }

  /** Its own cancel leaves its children alone. */
  spareChildren(): void {
    this.#spared = true;
  }
}
