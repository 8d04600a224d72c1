import { type FileHandle, mkdir, open, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { type Clock, type Logger, silentLogger, type Timer } from "@whipray/core";
import { ByteTail } from "./byte-tail.ts";
import { LineMerger } from "./line-merger.ts";
import {
  LOG_FILE_LIMIT_BYTES,
  LOG_FILES_LIMIT,
  LOG_FOLLOW_LIMIT_BYTES,
  LOG_LINE_LIMIT,
  LOG_PENDING_LIMIT_BYTES,
  LOG_TAIL_LIMIT_BYTES,
  type LogListener,
  type Logs,
  type LogWriter,
  lastLineBytes,
  lastLines,
  logFileName,
  type OutputStream,
  TAIL_BYTES,
  TAIL_LINE_LIMIT,
  TAIL_LINES,
} from "./logs.ts";

/** Unfinished lines (prompts, progress bars) reach the file after this long. */
const FLUSH_MS = 100;

export interface LogFilesOptions {
  readonly directory: string;
  readonly clock: Clock;
  readonly logger?: Logger;
  /** Default `LOG_FILE_LIMIT_BYTES`. */
  readonly fileLimitBytes?: number;
  /** Default `LOG_FILES_LIMIT`. */
  readonly filesLimit?: number;
}

/** Logs as files of one directory: `<name>.log`, older ones `<name>.log.1` and on. */
export class LogFiles implements Logs {
  readonly #options: Required<LogFilesOptions>;
  readonly #names = new Set<string>();

  constructor(options: LogFilesOptions) {
    this.#options = {
      logger: silentLogger,
      fileLimitBytes: LOG_FILE_LIMIT_BYTES,
      filesLimit: LOG_FILES_LIMIT,
      ...options,
    };
  }

  open(name: string): LogWriter {
    // Two live logs never share a file: each has a rotation of its own.
    let file = logFileName(name);
    for (let copy = 2; this.#names.has(file); copy++) file = logFileName(`${name}.${copy}`);
    this.#names.add(file);
    return new LogFile(join(this.#options.directory, file), this.#options, () => this.#names.delete(file));
  }
}

class LogFile implements LogWriter {
  readonly path: string;
  lostBytes = 0;
  readonly #options: Required<LogFilesOptions>;
  readonly #merger = new LineMerger();
  #tails: Record<OutputStream, ByteTail> = { out: new ByteTail(TAIL_BYTES), err: new ByteTail(TAIL_BYTES) };
  readonly #closedHook: () => void;
  #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  #writing: Promise<void> | undefined;
  #waiting: (() => void)[] = [];
  #flushTimer: Timer | undefined;
  #file: FileHandle | undefined;
  #sizeBytes = 0;
  #untoldBytes = 0;
  #closing: Promise<void> | undefined;
  #closed = false;
  readonly #followers = new Set<LogListener>();

  constructor(path: string, options: Required<LogFilesOptions>, closedHook: () => void) {
    this.path = path;
    this.#options = options;
    this.#closedHook = closedHook;
    this.#writing = this.#begin();
  }

  /** A process that prints nothing has a log too: errors name its path. */
  async #begin(): Promise<void> {
    await this.#opened().catch((error: unknown) => {
      // The first line tries again, and is counted when it is lost.
      this.#options.logger.warn("log not opened", { path: this.path, error: String(error) });
    });
    await this.#drain();
  }

  async #opened(): Promise<FileHandle> {
    if (this.#file) return this.#file;
    await mkdir(this.#options.directory, { recursive: true, mode: 0o700 });
    this.#file = await open(this.path, "a", 0o600);
    this.#sizeBytes = (await this.#file.stat()).size;
    return this.#file;
  }

  write(stream: OutputStream, chunk: Uint8Array): boolean {
    if (this.#closing) return true;
    this.#tails[stream].push(chunk);
    this.#enqueue(this.#merger.push(stream, chunk));
    if (this.#merger.holding) {
      this.#flushTimer ??= this.#options.clock.after(FLUSH_MS, () => {
        this.#flushTimer = undefined;
        this.#enqueue(this.#merger.flush());
      });
    }
    return this.#queuedBytes < LOG_PENDING_LIMIT_BYTES;
  }

  drained(): Promise<void> {
    if (this.#queuedBytes < LOG_PENDING_LIMIT_BYTES) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  errorTail(): string[] {
    const tail = this.#tails.err.bytes > 0 ? this.#tails.err : this.#tails.out;
    return lastLines(tail.text(), TAIL_LINES, TAIL_LINE_LIMIT);
  }

  async follow(lines: number, listener: LogListener): Promise<() => void> {
    this.#enqueue(this.#merger.flush());
    while (this.#writing) await this.#writing;
    // Nothing is written while we read: what comes meanwhile queues up behind us, for the listener too.
    const begun = readEnd(this.path, LOG_FOLLOW_LIMIT_BYTES).then((end) => {
      listener(lastLineBytes(end, lines));
      if (this.#closed) listener(undefined);
      else this.#followers.add(listener);
    });
    this.#writing = begun.catch(() => {}).then(() => this.#drain());
    await begun;
    return () => this.#followers.delete(listener);
  }

  async tail(lines: number): Promise<string[]> {
    this.#enqueue(this.#merger.flush());
    await this.#writing;
    const text: string[] = [];
    let roomBytes = LOG_TAIL_LIMIT_BYTES;
    for (const path of [this.path, `${this.path}.1`]) {
      if (roomBytes <= 0 || text.join("").split("\n").length > lines) break;
      const end = await readEnd(path, roomBytes);
      roomBytes -= end.length;
      text.unshift(end.toString("utf8"));
    }
    return lastLines(text.join(""), lines, LOG_LINE_LIMIT);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#flushTimer?.cancel();
    this.#enqueue(this.#merger.flush());
    await this.#writing;
    await this.#file?.close().catch((error: unknown) => this.#lost(0, error));
    this.#file = undefined;
    this.#closed = true;
    for (const listener of this.#followers) listener(undefined);
    this.#followers.clear();
    this.#tails = { out: new ByteTail(0), err: new ByteTail(0) };
    this.#closedHook();
  }

  #enqueue(pieces: readonly Uint8Array[]): void {
    if (pieces.length === 0) return;
    for (const piece of pieces) {
      this.#queue.push(piece);
      this.#queuedBytes += piece.length;
    }
    this.#writing ??= this.#drain();
  }

  async #drain(): Promise<void> {
    while (this.#queue.length > 0) {
      const batch = this.#queue;
      const bytes = this.#queuedBytes;
      this.#queue = [];
      try {
        await this.#append(batch, bytes);
      } catch (error) {
        this.#lost(bytes, error);
      }
      this.#queuedBytes -= bytes;
      if (this.#queuedBytes < LOG_PENDING_LIMIT_BYTES) for (const resolve of this.#waiting.splice(0)) resolve();
    }
    // In the same breath as the look at the queue: what comes later starts a new round.
    this.#writing = undefined;
  }

  async #append(batch: Uint8Array[], bytes: number): Promise<void> {
    if (this.#file && this.#sizeBytes > 0 && this.#sizeBytes + bytes > this.#options.fileLimitBytes) {
      await this.#rotate();
    }
    const file = await this.#opened();
    if (this.#untoldBytes > 0) {
      const line = Buffer.from(`[whipray: ${this.#untoldBytes} bytes of this log were lost]\n`);
      await writeAll(file, line);
      this.#sizeBytes += line.length;
      this.#untoldBytes = 0;
    }
    await writeAll(file, ...batch);
    this.#sizeBytes += bytes;
    for (const listener of this.#followers) for (const piece of batch) listener(piece);
  }

  async #rotate(): Promise<void> {
    await this.#file?.close();
    this.#file = undefined;
    const last = this.#options.filesLimit - 1;
    if (last < 1) return rm(this.path, { force: true });
    for (let number = last; number >= 1; number--) {
      const from = number === 1 ? this.path : `${this.path}.${number - 1}`;
      await rename(from, `${this.path}.${number}`).catch(ignoreMissing);
    }
  }

  #lost(bytes: number, error: unknown): void {
    if (this.#untoldBytes === 0)
      this.#options.logger.warn("log bytes lost", { path: this.path, bytes, error: String(error) });
    this.lostBytes += bytes;
    this.#untoldBytes += bytes;
  }
}

/** Pieces a writev may have (Linux: IOV_MAX). */
const PIECES_LIMIT = 1_024;

async function writeAll(file: FileHandle, ...pieces: Uint8Array[]): Promise<void> {
  let left = pieces;
  while (left.length > 0) {
    let { bytesWritten } = await file.writev(left.slice(0, PIECES_LIMIT));
    while (left.length > 0 && bytesWritten >= left[0]!.length) bytesWritten -= left.shift()!.length;
    if (bytesWritten > 0) left = [left[0]!.subarray(bytesWritten), ...left.slice(1)];
  }
}

async function readEnd(path: string, limitBytes: number): Promise<Buffer> {
  const file = await open(path, "r").catch(ignoreMissing);
  if (!file) return Buffer.alloc(0);
  try {
    const { size } = await file.stat();
    const length = Math.min(size, limitBytes);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, size - length);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== "ENOENT") throw error;
}
