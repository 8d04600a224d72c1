import type { WhiprayError } from "@whipray/core";
import {
  type CallOptions,
  type IncomingCall,
  type ItemStream,
  type Parts,
  type ReplySink,
  storedOf,
} from "@whipray/rpc";

/** Where a forwarded call goes. */
export interface Callee {
  submit(method: string, parts: Parts, options: CallOptions, sink: ReplySink): void;
  stream(method: string, parts: Parts, options?: CallOptions): ItemStream;
  notify(method: string, parts: Parts, options?: CallOptions): void;
}

/**
 * Passes a call on, and what comes back: reply, items, errors, without decoding any of it. A cancel, the deadline and the
 * end of the caller's session travel on, since the call is the parent of the other one. An item is taken from the callee when the caller has room for
 * it, so a slow reader slows its producer down. `parts` go instead of the call's own. Starts the call before it returns: the order of calls stays. `finish`
 * makes the reply of one that lies elsewhere.
 */
export async function forwardCall(
  incoming: IncomingCall,
  callee: Callee,
  method: string,
  parts: Parts = incoming.parts,
  finish?: (reply: Parts) => Promise<Parts>,
): Promise<void> {
  const { traceparent } = incoming;
  const options = { parent: incoming, ...(traceparent !== undefined && { traceparent }) };
  try {
    if (incoming.oneway) callee.notify(method, parts, options);
    else if (incoming.wantsStream) await forwardItems(incoming, callee.stream(method, parts, options));
    else await new Promise<void>((over) => callee.submit(method, parts, options, new Passing(incoming, finish, over)));
  } catch (error) {
    incoming.fail(error);
  }
}

/** Gives a reply to the other call in the moment in which it comes. */
class Passing implements ReplySink {
  readonly #incoming: IncomingCall;
  readonly #finish: ((reply: Parts) => Promise<Parts>) | undefined;
  readonly #over: () => void;

  constructor(incoming: IncomingCall, finish: ((reply: Parts) => Promise<Parts>) | undefined, over: () => void) {
    this.#incoming = incoming;
    this.#finish = finish;
    this.#over = over;
  }

  resolve(reply: Parts): void {
    if (this.#finish && storedOf(reply)) void this.#answerStored(this.#finish(reply));
    else {
      this.#incoming.reply(reply);
      this.#over();
    }
  }

  reject(error: WhiprayError): void {
    this.#incoming.fail(error);
    this.#over();
  }

  async #answerStored(finished: Promise<Parts>): Promise<void> {
    try {
      this.#incoming.reply(await finished);
    } catch (error) {
      this.#incoming.fail(error);
    }
    this.#over();
  }
}

async function forwardItems(incoming: IncomingCall, items: ItemStream): Promise<void> {
  for (;;) {
    const step = await items.next();
    if (step.done) {
      incoming.end((step.value as Parts | undefined) ?? []);
      return;
    }
    try {
      await incoming.item(step.value);
    } catch (error) {
      // The caller left: the engine's generator is closed.
      await items.return?.();
      throw error;
    }
  }
}
