import { systemClock, WhiprayError } from "@whipray/core";
import { daemons } from "whipray";
import { childOf } from "./namespaces.io.ts";

const STOP_MS = 20_000;
const START_MS = 60_000;

/** A head or a raylet of a test's cluster, as a process. */
export class RealDaemon {
  readonly #config: () => daemons.DaemonConfig;
  readonly #options: daemons.LaunchOptions;
  readonly #onDeath: (error: WhiprayError) => void;
  #launched: daemons.LaunchedDaemon;
  #pid: number;
  /** It got a signal from here: its end is no surprise. */
  #asked = false;

  private constructor(
    config: () => daemons.DaemonConfig,
    options: daemons.LaunchOptions,
    launched: daemons.LaunchedDaemon,
    onDeath: (error: WhiprayError) => void,
  ) {
    this.#config = config;
    this.#options = options;
    this.#onDeath = onDeath;
    this.#launched = launched;
    this.#pid = outsidePid(launched, options);
    this.#watch();
  }

  /** @param onDeath called when it ends and nobody here asked it to, with how and its last words */
  static async start(
    config: () => daemons.DaemonConfig,
    options: daemons.LaunchOptions,
    onDeath: (error: WhiprayError) => void,
  ): Promise<RealDaemon> {
    return new RealDaemon(config, options, await launch(config, options), onDeath);
  }

  /** Of the daemon itself as this process sees it, also when it calls itself 1 in its namespace. */
  get pid(): number {
    return this.#pid;
  }

  /** What it said when it was up. */
  get state(): daemons.DaemonState {
    return this.#launched.state!;
  }

  get running(): boolean {
    const { child } = this.#launched;
    return child.exitCode === null && child.signalCode === null;
  }

  /** Sends a signal; after SIGKILL waits until it is gone. */
  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    if (!this.running) return;
    this.#asked = true;
    process.kill(this.#pid, signal);
    if (signal === "SIGKILL") await this.#launched.exited;
  }

  /** Lets it leave in order; one that does not within 20 s is killed. Resolves to whether it left by itself. */
  async stop(): Promise<boolean> {
    if (!this.running) return true;
    await this.kill("SIGTERM");
    let inOrder = true;
    const timer = systemClock.after(STOP_MS, () => {
      inOrder = false;
      void this.kill();
    });
    await this.#launched.exited;
    timer.cancel();
    return inOrder;
  }

  /** Kills it if it still runs, and starts it anew. */
  async restart(): Promise<void> {
    await this.kill();
    this.#launched = await launch(this.#config, this.#options);
    this.#pid = outsidePid(this.#launched, this.#options);
    this.#asked = false;
    this.#watch();
  }

  #watch(): void {
    void this.#launched.exited.then(({ code, signal }) => {
      if (this.#asked) return;
      const config = this.#config();
      const { logFile, wrapper } = this.#options;
      const who = config.kind === "raylet" ? `raylet ${config.name ?? config.nodeId}` : config.kind;
      const how = signal ?? `exit code ${code}`;
      // A wrapper need not end as what it wraps did: unshare of Debian 12 exits 1 after a SIGKILL.
      const ended = forks(wrapper) ? `is gone, ${wrapper[0]} around it ended with ${how}` : `ended with ${how}`;
      const pid = this.#pid;
      this.#onDeath(
        new WhiprayError({
          code: "DAEMON_DIED",
          message: `The ${who} (pid ${pid}) ${ended}, and nobody had asked it to; its log ended with\n${daemons.lastLines(logFile)}`,
          details: { kind: config.kind, pid, code, signal, logFile },
        }),
      );
    });
  }
}

async function launch(
  config: () => daemons.DaemonConfig,
  options: daemons.LaunchOptions,
): Promise<daemons.LaunchedDaemon> {
  const launched = await daemons.launchDaemon(config(), { timeoutMs: START_MS, ...options });
  if (launched.state?.state === "ready") return launched;
  launched.child.kill("SIGKILL");
  throw new WhiprayError({
    code: "TIMEOUT",
    message: `The ${config().kind} was not up within ${START_MS} ms; its log is ${options.logFile}`,
  });
}

function outsidePid(launched: daemons.LaunchedDaemon, options: daemons.LaunchOptions): number {
  const pid = launched.child.pid!;
  return forks(options.wrapper) ? (childOf(pid) ?? pid) : pid;
}

/** The daemon is a child of its wrapper; else the wrapper has become the daemon. */
function forks(wrapper: readonly string[] | undefined): wrapper is readonly string[] {
  return wrapper?.includes("--fork") === true;
}
