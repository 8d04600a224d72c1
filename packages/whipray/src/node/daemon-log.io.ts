import { copyFileSync, fstatSync, ftruncateSync } from "node:fs";

/** A daemon's log file is set aside at this size, as `<file>.1`; the one before that goes. So a daemon never has more than twice as much. */
export const DAEMON_LOG_LIMIT_BYTES = 16_777_216;

/** Tells the daemon the file that its stdout and stderr append to: only such a file is rotated, never one that a user gave. */
export const DAEMON_LOG_VARIABLE = "WHIPRAY_DAEMON_LOG";

/** What lines are written to. */
export interface LineSink {
  write(line: string): void;
}

/**
 * Passes lines on to `sink`, which appends them to the open file `fd`, and sets the file aside when it is full. Node cannot point a
 * descriptor at another file, and what the runtime itself prints goes there too: so the content is copied and the file cut.
 */
export class RotatedLog implements LineSink {
  readonly #sink: LineSink;
  readonly #fd: number;
  readonly #path: string;
  readonly #limitBytes: number;
  #bytes: number;

  constructor(sink: LineSink, fd: number, path: string, limitBytes: number = DAEMON_LOG_LIMIT_BYTES) {
    this.#sink = sink;
    this.#fd = fd;
    this.#path = path;
    this.#limitBytes = limitBytes;
    this.#bytes = fstatSync(fd).size;
  }

  write(line: string): void {
    const bytes = Buffer.byteLength(line);
    if (this.#bytes > 0 && this.#bytes + bytes > this.#limitBytes) this.#setAside();
    this.#sink.write(line);
    this.#bytes += bytes;
  }

  #setAside(): void {
    const lost = this.#keep();
    ftruncateSync(this.#fd, 0);
    this.#bytes = 0;
    if (lost !== undefined)
      this.write(`${JSON.stringify({ level: 40, msg: "the log was cut and not kept", error: lost })}\n`);
  }

  /** Why it could not: a full disk or a lost folder costs the lines, not the daemon. */
  #keep(): string | undefined {
    try {
      copyFileSync(this.#path, `${this.#path}.1`);
      return undefined;
    } catch (error) {
      return String(error);
    }
  }
}
