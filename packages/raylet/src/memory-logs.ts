import {
  LOG_LINE_LIMIT,
  type LogListener,
  type Logs,
  type LogWriter,
  lastLineBytes,
  lastLines,
  logFileName,
  type OutputStream,
  TAIL_LINE_LIMIT,
  TAIL_LINES,
} from "./logs.ts";

/** The in-memory twin of `LogFiles`, for simulations: keeps everything. */
export class MemoryLogs implements Logs {
  readonly logs = new Map<string, MemoryLog>();

  open(name: string): MemoryLog {
    const log = new MemoryLog(`memory:${logFileName(name)}`);
    this.logs.set(name, log);
    return log;
  }
}

export class MemoryLog implements LogWriter {
  readonly path: string;
  readonly lostBytes = 0;
  closed = false;
  readonly #followers = new Set<LogListener>();
  readonly #text: Record<OutputStream | "both", string> = { out: "", err: "", both: "" };

  constructor(path: string) {
    this.path = path;
  }

  write(stream: OutputStream, chunk: Uint8Array): boolean {
    const text = Buffer.from(chunk).toString("utf8");
    this.#text[stream] += text;
    this.#text.both += text;
    for (const listener of this.#followers) listener(chunk);
    return true;
  }

  async drained(): Promise<void> {}

  errorTail(): string[] {
    return lastLines(this.#text.err || this.#text.out, TAIL_LINES, TAIL_LINE_LIMIT);
  }

  async tail(lines: number): Promise<string[]> {
    return lastLines(this.#text.both, lines, LOG_LINE_LIMIT);
  }

  async follow(lines: number, listener: LogListener): Promise<() => void> {
    listener(lastLineBytes(Buffer.from(this.#text.both), lines));
    if (this.closed) listener(undefined);
    else this.#followers.add(listener);
    return () => this.#followers.delete(listener);
  }

  async close(): Promise<void> {
    this.closed = true;
    for (const listener of this.#followers) listener(undefined);
    this.#followers.clear();
  }
}
