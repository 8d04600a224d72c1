import { WhiprayError } from "@whipray/core";
import type { DeathCause } from "@whipray/rpc";
import type { Lease } from "./ledger.ts";
import type { NodeDevice } from "./node-identity.ts";
import type { SpawnSpec } from "./processes.ts";

/** Exit code of whipray_hold.py when somebody else holds a lock; its last line says who. */
const EXIT_LOCKED = 65;

export type WorkerSpec = Omit<SpawnSpec, "log">;

export interface WorkerHoldsOptions {
  readonly cluster: string;
  readonly nodeId: string;
  /** Incarnation of this raylet. */
  readonly raylet: string;
  readonly devices: readonly NodeDevice[];
  readonly python: string;
  /** whipray_hold.py */
  readonly holdFile: string;
  /** Told of each refusal. */
  readonly locked: () => void;
}

/**
 * Workers of actors with devices hold the devices' locks themselves, as guards do for engines (mechanism 11): the worker starts as
 * a small Python program that takes them and then becomes the worker, so that the kernel frees them with it.
 */
export class WorkerHolds {
  readonly #options: WorkerHoldsOptions;

  constructor(options: WorkerHoldsOptions) {
    this.#options = options;
  }

  /** How a worker of this lease starts; undefined when there is nothing to lock. */
  wrap({ leaseId, devices }: Lease): ((spec: WorkerSpec) => WorkerSpec) | undefined {
    const { cluster, nodeId, raylet, python, holdFile, devices: known } = this.#options;
    const granted = new Set(devices.map((device) => device.uuid));
    const locks = known.filter((device) => device.shared && granted.has(device.uuid)).map((device) => device.lockPath);
    if (locks.length === 0) return undefined;
    const config = JSON.stringify({ cluster, node: nodeId, raylet, lease: leaseId, locks });
    return (spec) => ({
      ...spec,
      command: python,
      args: ["-I", "-S", holdFile, config, spec.command, ...spec.args],
    });
  }

  /** The refusal behind a worker that did not start: somebody else has the device. Retryable: elsewhere, or later. */
  refusal(error: unknown): WhiprayError | undefined {
    const cause = error instanceof WhiprayError ? (error.details["cause"] as DeathCause | undefined) : undefined;
    if (cause?.exitCode !== EXIT_LOCKED) return undefined;
    this.#options.locked();
    return new WhiprayError({
      code: "DEVICE_LOCKED",
      message: showRefusal(cause.stderrTail?.findLast((one) => one.startsWith("{")) ?? "{}"),
      retryable: true,
      cause: error,
    });
  }
}

/** What whipray_hold.py says: `{path, holder, message}`, the holder as a guard writes its name, or null. */
function showRefusal(line: string): string {
  let said: { path?: unknown; holder?: unknown; message?: unknown };
  try {
    said = JSON.parse(line) as typeof said;
  } catch {
    said = { message: line };
  }
  const holder = said.holder ? `is held by ${JSON.stringify(said.holder)}` : "could not be taken";
  return `lock ${said.path ?? "of a device"} ${holder}: ${said.message ?? "nothing more is known"}`.slice(0, 1_024);
}
