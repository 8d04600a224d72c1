import { WhiprayError } from "@whipray/core";
import type { Child, ProcessExit, Processes, SpawnSpec, SweepOutcome } from "./processes.ts";

/** A process of a simulation: the test plays it. */
export class MemoryChild implements Child {
  readonly pid: number;
  readonly startTime = 1;
  readonly terminal = undefined;
  readonly spec: SpawnSpec;
  readonly exited: Promise<ProcessExit>;
  readonly signals: string[] = [];
  /** What a signal does. Default: every signal ends it. */
  onSignal: (signal: string) => void = (signal) => this.exit({ code: null, signal });
  #exit: ProcessExit | undefined;
  #resolve: (exit: ProcessExit) => void = () => {};

  constructor(pid: number, spec: SpawnSpec) {
    this.pid = pid;
    this.spec = spec;
    this.exited = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  get running(): boolean {
    return this.#exit === undefined;
  }

  exit(exit: ProcessExit): void {
    this.#exit ??= exit;
    this.#resolve(this.#exit);
  }

  kill(signal: NodeJS.Signals): boolean {
    if (!this.running) return false;
    this.signals.push(signal);
    if (signal === "SIGKILL") this.exit({ code: null, signal });
    else this.onSignal(signal);
    return true;
  }
}

/** The in-memory twin of `ChildProcesses`: `play` is told of each new process and makes it behave. */
export class MemoryProcesses implements Processes {
  readonly children: MemoryChild[] = [];
  /** Makes the next spawns fail with this reason. */
  refusal: string | undefined;
  /** What a sweep finds; default nothing. */
  sweepOutcome: SweepOutcome = { killed: 0, left: 0 };
  readonly #play: (child: MemoryChild) => void;
  #pid = 1_000;

  constructor(play: (child: MemoryChild) => void = () => {}) {
    this.#play = play;
  }

  async spawn(spec: SpawnSpec): Promise<MemoryChild> {
    if (this.refusal !== undefined) throw new WhiprayError({ code: "SPAWN_FAILED", message: this.refusal });
    const child = new MemoryChild(++this.#pid, spec);
    this.children.push(child);
    this.#play(child);
    return child;
  }

  async sweep(): Promise<SweepOutcome> {
    return this.sweepOutcome;
  }

  alive(pid: number): boolean {
    return this.children.some((child) => child.pid === pid && child.running);
  }
}
