import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { MAX_LINE_CHARS, type SideReply, type SideRequest } from "./side-protocol.ts";

/** Time to come up: Ray takes some seconds, on a loaded machine more. */
const START_MS = 120_000;
/** Time to go by itself after its stdin closed. */
const END_MS = 15_000;
/** What one request may take beyond the seconds that it asks for: the first step makes actors, or starts a second raylet. */
const PATIENCE_MS = 90_000;
const STDERR_CHARS = 4_000;

export interface SideCommand {
  file: string;
  args: readonly string[];
  /** Changes to this process's environment; undefined takes a variable away. */
  env?: Readonly<Record<string, string | undefined>>;
}

/** A process that runs loops on request: Ray's driver, or one of Whipray. */
export class Side {
  readonly #child: ChildProcess;
  readonly #replies: SideReply[] = [];
  /** Who waits for a reply, and who for the end. */
  #waiting: (() => void)[] = [];
  #ended: string | undefined;
  #stderr = "";
  facts: Record<string, unknown> = {};

  private constructor(command: SideCommand) {
    this.#child = spawn(command.file, command.args, {
      stdio: ["pipe", "pipe", "pipe"],
      env: { ...process.env, ...command.env },
    });
    const { stdin, stdout, stderr } = this.#child;
    stdin?.on("error", () => {}); // a side that died says so by its end
    stderr?.on("data", (data: Buffer) => {
      this.#stderr = (this.#stderr + String(data)).slice(-STDERR_CHARS);
    });
    createInterface({ input: stdout! }).on("line", (line) => this.#take(line));
    this.#child.on("error", (error) => this.#end(`could not start: ${error.message}`));
    this.#child.on("close", (code, signal) => this.#end(`ended with ${signal ?? code}`));
  }

  /** @throws Error with the last lines of its stderr when it does not come up. */
  static async start(command: SideCommand): Promise<Side> {
    const side = new Side(command);
    const reply = await side.#reply(START_MS);
    if (!("ready" in reply)) {
      await side.close();
      throw new Error(`${command.file} ${command.args.join(" ")}: ${"error" in reply ? reply.error : "did not start"}`);
    }
    side.facts = reply.facts;
    return side;
  }

  /** It answers nothing any more. */
  get ended(): boolean {
    return this.#ended !== undefined || this.#child.killed;
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** One request at a time; a side that died or does not answer answers with an error. */
  async ask(request: SideRequest): Promise<SideReply> {
    if (this.#ended === undefined) this.#child.stdin?.write(`${JSON.stringify(request)}\n`);
    const seconds = "seconds" in request ? request.seconds : 0;
    return await this.#reply(PATIENCE_MS + seconds * 1_000);
  }

  /** Closes its stdin and waits; kills it when it does not go. */
  async close(): Promise<void> {
    this.#child.stdin?.end();
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), END_MS);
    while (this.#ended === undefined) await this.#change();
    clearTimeout(timer);
  }

  async #reply(patienceMs: number): Promise<SideReply> {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.#wake();
    }, patienceMs);
    while (this.#replies.length === 0 && this.#ended === undefined && !late) await this.#change();
    clearTimeout(timer);
    const reply = this.#replies.shift();
    if (reply) return reply;
    if (this.#ended !== undefined) return { error: `${this.#ended}\n${this.#stderr}`.trim() };
    // Its answer may still come and would be taken for that of the next request: it is of no use any more.
    this.#child.kill("SIGKILL");
    return { error: `no answer within ${patienceMs / 1_000} s` };
  }

  #take(line: string): void {
    try {
      if (line.length > MAX_LINE_CHARS) throw new Error(`a line of ${line.length} characters`);
      this.#replies.push(JSON.parse(line) as SideReply);
    } catch (error) {
      this.#replies.push({ error: `unreadable answer: ${error}` });
    }
    this.#wake();
  }

  #end(how: string): void {
    this.#ended ??= how;
    this.#wake();
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }
}
