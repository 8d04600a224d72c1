import { asWhiprayError, type Logger, WhiprayError } from "@whipray/core";
import type { CallHandler, IncomingCall } from "../call.ts";
import { decodeControl, encodeControl } from "../codec.ts";
import type { Method } from "../fields.ts";

type Served = (call: IncomingCall) => Promise<void>;

/** Which handler takes an incoming call: a served control method, else the one for everything. */
export class Dispatcher {
  readonly #served = new Map<string, Served>();
  readonly #logger: Logger;
  #handler: CallHandler | undefined;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  serve<Request, Reply>(
    method: Method<Request, Reply>,
    handler: (request: Request, call: IncomingCall) => Reply | Promise<Reply>,
  ): void {
    this.#served.set(method.name, async (call) => {
      try {
        const request = method.request(decodeControl(call.parts[0] ?? new Uint8Array(0)), method.name);
        const reply = await handler(request, call);
        call.reply([encodeControl(reply ?? null)]);
      } catch (error) {
        if (call.oneway)
          this.#logger.warn("a oneway call failed", { method: call.method, error: asWhiprayError(error).message });
        call.fail(error);
      }
    });
  }

  /** As `serve`, but the handler answers the call itself, with parts as they are. */
  serveRaw<Request>(method: Method<Request, unknown>, handler: (request: Request, call: IncomingCall) => void): void {
    this.#served.set(method.name, async (call) => {
      try {
        handler(method.request(decodeControl(call.parts[0] ?? new Uint8Array(0)), method.name), call);
      } catch (error) {
        call.fail(error);
      }
    });
  }

  onCall(handler: CallHandler): void {
    this.#handler = handler;
  }

  dispatch(call: IncomingCall): void {
    const served = this.#served.get(call.method);
    if (served) {
      void served(call);
      return;
    }
    if (!this.#handler) {
      call.fail(new WhiprayError({ code: "METHOD_NOT_FOUND", message: `No method ${call.method.slice(0, 128)} here` }));
      return;
    }
    try {
      this.#handler(call);
    } catch (error) {
      call.fail(error);
    }
  }
}
