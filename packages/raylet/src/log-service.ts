import { WhiprayError } from "@whipray/core";
import { type Endpoint, logTail, processCause } from "@whipray/rpc";
import type { CauseBook } from "./cause-book.ts";
import type { KnownLogs } from "./known-logs.ts";

export interface LogServiceOptions {
  readonly endpoint: Endpoint;
  readonly logs: KnownLogs;
  readonly causes: CauseBook;
  readonly nodeId: string;
}

/** `log.tail` and `process.cause`: what a process of this node said last, and why it ended. */
export class LogService {
  constructor({ endpoint, logs, causes, nodeId }: LogServiceOptions) {
    const address = (process: string) => (process.startsWith(`${nodeId}/`) ? process : `${nodeId}/${process}`);
    endpoint.serve(logTail, async ({ process, lines }) => {
      const log = logs.find(process.slice(process.indexOf("/") + 1));
      if (!log) {
        const message = `no log of ${JSON.stringify(process.slice(0, 80))} is known on ${nodeId}`;
        throw new WhiprayError({ code: "NOT_FOUND", message, details: { process: process.slice(0, 80) } });
      }
      return { lines: await log.tail(lines), path: log.path };
    });
    endpoint.serve(processCause, async ({ process, timeoutMs }) => {
      const cause = await causes.wait(address(process), timeoutMs);
      return cause === undefined ? {} : { cause };
    });
  }
}
