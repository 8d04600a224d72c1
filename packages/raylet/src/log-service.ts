import { WhiprayError } from "@whipray/core";
import { type Endpoint, type IncomingCall, logFollow, logTail, processCause } from "@whipray/rpc";
import type { CauseBook } from "./cause-book.ts";
import type { KnownLogs } from "./known-logs.ts";
import type { LogWriter } from "./logs.ts";
import { requireDriver } from "./terminal-service.ts";
import { ViewerStream } from "./viewer-stream.ts";

export interface LogServiceOptions {
  readonly endpoint: Endpoint;
  readonly logs: KnownLogs;
  readonly causes: CauseBook;
  readonly nodeId: string;
}

/** `log.tail`, `log.follow` and `process.cause`: what a process of this node says, and why it ended. */
export class LogService {
  readonly #logs: KnownLogs;
  readonly #nodeId: string;

  constructor({ endpoint, logs, causes, nodeId }: LogServiceOptions) {
    this.#logs = logs;
    this.#nodeId = nodeId;
    const address = (process: string) => (process.startsWith(`${nodeId}/`) ? process : `${nodeId}/${process}`);
    endpoint.serve(logTail, async ({ process, lines }) => {
      const log = this.#find(process);
      return { lines: await log.tail(lines), path: log.path };
    });
    endpoint.serveRaw(logFollow, ({ process, lines }, call) => {
      requireDriver(call);
      this.#follow(this.#find(process), lines, call);
    });
    endpoint.serve(processCause, async ({ process, timeoutMs }) => {
      const cause = await causes.wait(address(process), timeoutMs);
      return cause === undefined ? {} : { cause };
    });
  }

  #find(process: string): LogWriter {
    const log = this.#logs.find(process.slice(process.indexOf("/") + 1));
    if (log) return log;
    const message = `no log of ${JSON.stringify(process.slice(0, 80))} is known on ${this.#nodeId}`;
    throw new WhiprayError({ code: "NOT_FOUND", message, details: { process: process.slice(0, 80) } });
  }

  #follow(log: LogWriter, lines: number, call: IncomingCall): void {
    const gone = Promise.withResolvers<void>();
    const stream = new ViewerStream(call, gone.resolve);
    const following = log.follow(lines, (data) => (data ? stream.show(data) : stream.end("the log is closed")));
    following.then(
      (stop) => gone.promise.then(stop),
      (error: unknown) => call.fail(error),
    );
  }
}
