import type { Logs, LogWriter } from "./logs.ts";

/** Logs that can be asked for, those of ended processes included; the oldest is forgotten first (its file stays). */
export const KNOWN_LOGS_LIMIT = 2_048;

/** Remembers logs by the name of their process, so that nobody ever asks for a path (reliability B30). */
export class KnownLogs {
  readonly #logs: Logs;
  readonly #known = new Map<string, LogWriter>();

  constructor(logs: Logs) {
    this.#logs = logs;
  }

  /** Opens the log of a process. `file` names its file; default the process' own name. */
  open(process: string, file = process): LogWriter {
    const log = this.#logs.open(file);
    this.#known.set(process, log);
    if (this.#known.size > KNOWN_LOGS_LIMIT) this.#known.delete(this.#known.keys().next().value!);
    return log;
  }

  find(process: string): LogWriter | undefined {
    return this.#known.get(process);
  }
}
