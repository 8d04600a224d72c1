import type { Clock, IdSource, ResourceAmounts } from "@whipray/core";
import type { DeviceGrant, Endpoint, Peer } from "@whipray/rpc";
import type { EngineStore } from "./engine-objects.ts";

/** What an engine needs of the process that launches it; an actor's context has nearly all of it. */
export interface EngineLauncher {
  /** The launching process on the wire: the engine dials it. */
  readonly endpoint: Endpoint;
  /** Starts, guards and ends engines on this node. */
  readonly raylet: Peer;
  readonly nodeId: string;
  /** Actor whose lease the engine runs in: same devices, dies with it. */
  readonly actorId: string;
  readonly epoch: number;
  /** Unix socket that the launching process listens on. */
  readonly socket: string;
  /** Lets an engine with this token dial us; returns the undo. */
  expectEngine(engineId: string, tokenDigest: string, onLink: () => void): () => void;
  /** For large arguments and results in shared memory; without it they go through the socket. */
  readonly objects?: { client(): Promise<EngineStore> } | undefined;
  readonly clock: Clock;
  readonly ids: IdSource;
}

/** How an engine is to be started (design.md, mechanism 9). */
export interface EngineSpec {
  /** Interpreter; the raylet's default (`python3` of its PATH) when absent. */
  python?: string | undefined;
  /** Arguments after the interpreter. None starts the engine host of this package. */
  argv?: readonly string[] | undefined;
  /** Working directory; the raylet's default when absent. */
  cwd?: string | undefined;
  /** The user's environment; device variables and `WHIPRAY_*` come after it and win. Default none. */
  env?: Readonly<Record<string, string>> | undefined;
  /** `none` lets `env` name other devices than were granted. Default `env`. */
  isolation?: "env" | "none" | undefined;
  /** Devices to show when fewer than the lease's. */
  devices?: readonly DeviceGrant[] | undefined;
  /** Taken of the launcher's bundle for its engines, beside its own lease, until the launcher ends. Default nothing. */
  claim?: ResourceAmounts | undefined;
  /** Standard streams are a pseudo-terminal that people can attach to. Default false. */
  pty?: boolean | undefined;
  /** Names its log file. */
  logName: string;
  /** Time between SIGTERM and SIGKILL when it must go. Default 5 000. */
  graceMs?: number | undefined;
  /** Time in which the host must have dialled us. Default 60 000. */
  startTimeoutMs?: number | undefined;
}

export const DEFAULT_GRACE_MS = 5_000;
export const DEFAULT_START_TIMEOUT_MS = 60_000;
