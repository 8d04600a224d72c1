import type { Logs, LogWriter } from "./logs.ts";

/** Names of logs that can be asked for, at most two a log, those of ended processes included; the oldest is forgotten first (its file stays). */
export const KNOWN_LOGS_LIMIT = 4_096;

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
    this.name(process, log);
    return log;
  }

  /** One more name of a log; the latest log of a name has it. */
  name(name: string, log: LogWriter): void {
    this.#known.delete(name);
    this.#known.set(name, log);
    if (this.#known.size > KNOWN_LOGS_LIMIT) this.#known.delete(this.#known.keys().next().value!);
  }

  find(process: string): LogWriter | undefined {
    return this.#known.get(process);
  }
}
