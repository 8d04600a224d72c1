import { randomBytes } from "node:crypto";
import { rm } from "node:fs/promises";
import { type Clock, delay, type Logger, type Timer, WhiprayError } from "@whipray/core";
import type { GuardEvent } from "./guard-lines.ts";
import type { GuardLink } from "./guard-link.io.ts";
import type { GuardNews } from "./guard-server.io.ts";
import {
  GUARD_KILL_BY_MS,
  GUARD_SILENCE_MS,
  GUARD_START_LIMIT_MS,
  type GuardedTree,
  type GuardSpec,
  type Guards,
  type TreeEnd,
} from "./guards.ts";
import type { MemoryKills } from "./memory-kills.ts";
import type { Child, ProcessExit, Processes } from "./processes.ts";
import { writeSecret } from "./runtime-directory.io.ts";
import { NODE_MARK, RAYLET_MARK, type RuntimeDirectory } from "./runtime-directory.ts";

const CONFIG_VARIABLE = "WHIPRAY_GUARD_CONFIG";
const TERMINAL_SIZE = { columns: 120, rows: 40 };
/** How long a tree without its guard is killed from outside before it counts as stuck; then it is tried on and on. */
const OUTSIDE_SWEEP_MS = 5_000;
const STUCK_PAUSE_MS = 1_000;
/** How long the last words of a guard that ended are waited for. */
const LAST_LINES_MS = 1_000;
/** A guard ends with this code only when nothing of its tree is left (GUARD.md). */
const GUARD_EXIT_GONE = 0;

export interface EngineGuardsOptions {
  readonly link: GuardLink;
  readonly processes: Processes;
  readonly directory: RuntimeDirectory;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly cluster: string;
  readonly nodeId: string;
  /** Incarnation of this raylet: device locks name it. */
  readonly raylet: string;
  /** Interpreter that runs guards. */
  readonly python: string;
  /** whipray_guard.py */
  readonly guardFile: string;
  /** Why somebody else killed an engine. */
  readonly memoryKills?: MemoryKills | undefined;
  /** Environment of guards: PATH to find python, nothing secret. */
  readonly env: Readonly<Record<string, string>>;
}

/** Engines, and workers with devices, under Python guards, one each (design.md, mechanism 11). */
export class EngineGuards implements Guards {
  readonly #options: EngineGuardsOptions;
  readonly #trees = new Map<string, GuardTree>();

  constructor(options: EngineGuardsOptions) {
    this.#options = options;
    options.link.onNews((news) => {
      if ("lease" in news) this.#trees.get(news.lease)?.hear(news);
    });
  }

  async start(spec: GuardSpec): Promise<GuardedTree> {
    const { link, processes, directory, python, guardFile, cluster, nodeId, raylet, env } = this.#options;
    const { treeId: lease, mark, epoch, argv, cwd, locks, graceMs } = spec;
    const token = randomBytes(24).toString("hex");
    const path = directory.secret(`${lease}.guard`);
    const config = {
      ...{
        lease,
        epoch,
        cluster,
        node: nodeId,
        raylet,
        socket: directory.guardSocket,
        token,
        argv,
        cwd,
        env: spec.env,
      },
      ...{ locks, graceMs, beatTimeoutMs: GUARD_SILENCE_MS, killByMs: GUARD_KILL_BY_MS },
      ...{ searchKey: mark, pdeathsig: true },
    };
    await Promise.all([writeSecret(path, JSON.stringify(config)), link.ready()]);
    const tree = new GuardTree(lease, mark, this.#options);
    this.#trees.set(lease, tree);
    link.send({ to: "expect", lease, epoch, token });
    try {
      const child = await processes.spawn({
        command: python,
        args: ["-I", "-S", guardFile],
        env: { ...env, WHIPRAY_CLUSTER: cluster, [CONFIG_VARIABLE]: path, [NODE_MARK]: nodeId, [RAYLET_MARK]: raylet },
        cwd: "/",
        log: spec.log,
        ...(spec.pty && { terminal: TERMINAL_SIZE }),
        // It outlives us on purpose: it is the one that ends the tree when we are gone.
        dieWithParent: false,
      });
      return await tree.run(child);
    } catch (error) {
      await rm(path, { force: true });
      this.#forget(lease);
      throw error;
    } finally {
      void tree.gone.then(() => this.#forget(lease));
    }
  }

  #forget(lease: string): void {
    this.#trees.delete(lease);
    this.#options.link.send({ to: "forget", lease });
  }

  async close(): Promise<void> {
    await Promise.all([...this.#trees.values()].map((tree) => tree.stop(0)));
    await this.#options.link.close();
  }
}

/** One tree as its raylet sees it. */
class GuardTree implements GuardedTree {
  pid = 0;
  startTime = 0;
  terminal: GuardedTree["terminal"];
  readonly exited: Promise<ProcessExit>;
  readonly gone: Promise<TreeEnd>;
  readonly #treeId: string;
  readonly #mark: string;
  readonly #options: EngineGuardsOptions;
  readonly #started = Promise.withResolvers<void>();
  readonly #exited = Promise.withResolvers<ProcessExit>();
  readonly #gone = Promise.withResolvers<TreeEnd>();
  readonly #stuck = Promise.withResolvers<TreeEnd>();
  readonly #hungUp = Promise.withResolvers<void>();
  #guard: Child | undefined;
  #toldGone = false;
  /** We had it ended. */
  #stopped = false;

  constructor(treeId: string, mark: string, options: EngineGuardsOptions) {
    this.#treeId = treeId;
    this.#mark = mark;
    this.#options = options;
    this.exited = this.#exited.promise;
    this.gone = this.#gone.promise;
    this.#started.promise.catch(() => {}); // may fail while nobody waits any more
  }

  async run(guard: Child): Promise<this> {
    this.#guard = guard;
    this.terminal = guard.terminal;
    void guard.exited.then((exit) => this.#guardEnded(exit));
    const timer: Timer = this.#options.clock.after(GUARD_START_LIMIT_MS, () => {
      this.#fail("ENGINE_START_FAILED", `its guard said nothing for ${GUARD_START_LIMIT_MS} ms`);
      guard.kill("SIGKILL");
    });
    await this.#started.promise.finally(() => timer.cancel());
    return this;
  }

  hear(news: Exclude<GuardNews, { news: "listening" | "failed" | "closed" }>): void {
    if (news.news === "event") this.#event(news.event);
    else if (news.news === "disconnected") this.#hungUp.resolve();
    // A stopped guard holds its tree and its locks: whatever the reason, the tree is ended from outside (reliability F4).
    else if (news.news === "silent") this.#guard?.kill("SIGKILL");
  }

  #event(event: GuardEvent): void {
    switch (event.event) {
      case "started":
        this.pid = event.pid;
        this.startTime = event.startTime;
        this.#started.resolve();
        break;
      case "lock_failed": {
        const holder = event.holder ? `is held by ${JSON.stringify(event.holder)}` : "could not be taken";
        this.#fail("DEVICE_LOCKED", `lock ${event.path} ${holder}: ${event.message}`, { holder: event.holder });
        break;
      }
      case "start_failed":
        this.#fail(event.message.startsWith("cwd ") ? "INVALID_PATH" : "ENGINE_START_FAILED", event.message);
        break;
      case "exited":
        this.#exited.resolve(this.#judged({ code: event.code, signal: event.signal }));
        break;
      case "left":
        this.#stuck.resolve({ killed: 0, left: event.count });
        break;
      case "gone":
        this.#toldGone = true;
        this.#fail("ENGINE_START_FAILED", "it was stopped before it ran"); // else it had started
        void this.#guardLeaves().then(() => this.#gone.resolve({ killed: event.killed, left: 0 }));
        break;
      case "guard_failed":
        this.#options.logger.error("a guard failed", { treeId: this.#treeId, error: event.message });
    }
  }

  #judged(exit: ProcessExit): ProcessExit {
    return this.#stopped ? exit : (this.#options.memoryKills?.judged(this.pid, exit) ?? exit);
  }

  /** The guard is the last process of the tree, and the one that holds its locks. */
  async #guardLeaves(): Promise<void> {
    await Promise.race([this.#guard?.exited, delay(this.#options.clock, LAST_LINES_MS)]);
  }

  #fail(code: string, reason: string, details: Record<string, unknown> = {}): void {
    const treeId = this.#treeId;
    const message = `${treeId} could not be started: ${reason}`;
    // A device that somebody holds is free elsewhere, or later.
    const retryable = code === "DEVICE_LOCKED";
    this.#started.reject(new WhiprayError({ code, message, retryable, details: { treeId, ...details } }));
  }

  /** The guard's own exit. Its last lines come through another thread, perhaps later than the news of its end. */
  async #guardEnded(exit: ProcessExit): Promise<void> {
    await Promise.race([this.#hungUp.promise, delay(this.#options.clock, LAST_LINES_MS)]);
    if (this.#toldGone) return;
    const how = exit.signal ?? `exit code ${exit.code}`;
    this.#fail("ENGINE_START_FAILED", `its guard ended with ${how} before anything ran`);
    if (exit.code === GUARD_EXIT_GONE) {
      // Its last lines were lost: a write of ours met a socket that it had closed.
      this.#exited.resolve({ code: null, signal: "SIGKILL" });
      return this.#gone.resolve({ killed: 0, left: 0 });
    }
    // Nobody watched the tree's last moments: we do.
    await this.#killFromOutside();
  }

  async #killFromOutside(): Promise<void> {
    const { processes, clock } = this.#options;
    let killed = 0;
    for (;;) {
      const outcome = await processes.sweep(this.#mark, this.#treeId, OUTSIDE_SWEEP_MS);
      killed += outcome.killed;
      // Ignored where the guard told how the first process ended before it went.
      this.#exited.resolve({ code: null, signal: "SIGKILL" });
      if (outcome.left === 0) return this.#gone.resolve({ killed, left: 0, unwatched: true });
      this.#stuck.resolve({ killed, left: outcome.left });
      await delay(clock, STUCK_PAUSE_MS);
    }
  }

  stop(graceMs: number): Promise<TreeEnd> {
    this.#stopped = true;
    this.#options.link.send({ to: "kill", lease: this.#treeId, graceMs });
    return Promise.race([this.gone, this.#stuck.promise]);
  }
}
