import { type CallOptions, type IncomingCall, type ItemStream, type Parts, storedOf } from "@whipray/rpc";

/** Where a forwarded call goes. */
export interface Callee {
  call(method: string, parts: Parts, options?: CallOptions): Promise<Parts>;
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
    else {
      const reply = await callee.call(method, parts, options);
      incoming.reply(finish && storedOf(reply) ? await finish(reply) : reply);
    }
  } catch (error) {
    incoming.fail(error);
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
