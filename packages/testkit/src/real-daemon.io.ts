import { systemClock, WhiprayError } from "@whipray/core";
import { daemons } from "whipray";
import { childOf } from "./namespaces.io.ts";

const STOP_MS = 20_000;
const START_MS = 60_000;

/** A head or a raylet of a test's cluster, as a process. */
export class RealDaemon {
  readonly #config: () => daemons.DaemonConfig;
  readonly #options: daemons.LaunchOptions;
  #launched: daemons.LaunchedDaemon;
  #pid: number;

  private constructor(
    config: () => daemons.DaemonConfig,
    options: daemons.LaunchOptions,
    launched: daemons.LaunchedDaemon,
  ) {
    this.#config = config;
    this.#options = options;
    this.#launched = launched;
    this.#pid = outsidePid(launched, options);
  }

  static async start(config: () => daemons.DaemonConfig, options: daemons.LaunchOptions): Promise<RealDaemon> {
    return new RealDaemon(config, options, await launch(config, options));
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
  return (options.wrapper?.length ?? 0) > 0 ? (childOf(pid) ?? pid) : pid;
}
