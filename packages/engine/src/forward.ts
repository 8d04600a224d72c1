import type { CallOptions, IncomingCall, ItemStream, Parts } from "@whipray/rpc";

/** Where a forwarded call goes. */
export interface Callee {
  call(method: string, parts: Parts, options?: CallOptions): Promise<Parts>;
  stream(method: string, parts: Parts, options?: CallOptions): ItemStream;
  notify(method: string, parts: Parts, options?: CallOptions): void;
}

/**
 * Passes a call on, and what comes back: reply, items, errors, without decoding any of it. A cancel, the deadline and the
 * end of the caller's session travel on by the call's signal. An item is taken from the callee when the caller has room for
 * it, so a slow reader slows its producer down. Starts the call before it returns: the order of calls stays.
 */
export async function forwardCall(incoming: IncomingCall, callee: Callee, method: string): Promise<void> {
  const { parts, traceparent, signal } = incoming;
  const options = { signal, ...(traceparent !== undefined && { traceparent }) };
  try {
    if (incoming.oneway) callee.notify(method, parts, options);
    else if (incoming.wantsStream) await forwardItems(incoming, callee.stream(method, parts, options));
    else incoming.reply(await callee.call(method, parts, options));
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
