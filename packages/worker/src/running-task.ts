import { type IncomingCall, type TaskFunction, taskIdOf } from "@whipray/rpc";
import { Children } from "./children.ts";
import type { CallContext } from "./context.ts";

/** The task that runs in this process now, as its own code sees it. */
export class RunningTask implements CallContext {
  readonly function: TaskFunction;
  readonly #call: IncomingCall;
  #children: Children | undefined;

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

  get children(): Children {
    this.#children ??= new Children(this.#call);
    return this.#children;
  }
}
