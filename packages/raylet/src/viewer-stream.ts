import { encodeControl, type IncomingCall, type TerminalItem } from "@whipray/rpc";
import { ViewerBacklog } from "./viewer-backlog.ts";

/** The stream of one viewer: sends what there is to see at the viewer's own pace, and drops what it is too slow for. */
export class ViewerStream {
  readonly #call: IncomingCall;
  readonly #backlog = new ViewerBacklog();
  /** Told before any output that waits: few, and never dropped. */
  readonly #news: TerminalItem[] = [];
  #sending = false;
  #end: string | undefined;

  /** `left` is called once when the viewer has gone: it cancelled, or its session ended. */
  constructor(call: IncomingCall, left: () => void) {
    this.#call = call;
    const abort = (): void => {
      this.#end ??= "detached";
      left();
      call.fail(call.signal.reason);
    };
    if (call.signal.aborted) queueMicrotask(abort);
    else call.signal.addEventListener("abort", abort, { once: true });
  }

  tell(item: TerminalItem): void {
    if (this.#end !== undefined) return;
    this.#news.push(item);
    this.#send();
  }

  show(data: Uint8Array): void {
    if (this.#end !== undefined) return;
    this.#backlog.push(data);
    this.#send();
  }

  /** After what waits. */
  end(reason: string): void {
    if (this.#end !== undefined) return;
    this.#end = reason;
    this.#send();
  }

  #send(): void {
    if (this.#sending) return;
    this.#sending = true;
    this.#sendAll().catch(() => {}); // an item is only refused when the call was aborted, which tells `left`
  }

  async #sendAll(): Promise<void> {
    for (;;) {
      const item = this.#news.shift() ?? this.#backlog.take();
      if (!item) break;
      await this.#call.item([encodeControl(item)]);
    }
    this.#sending = false;
    if (this.#end !== undefined) this.#call.end([encodeControl({ reason: this.#end })]);
  }
}
