import type { ResourceAmounts } from "@whipray/core";

/** Constructor argument of an RPC server: how its engine host is to be started when the first engine is created. */
export interface ServerStart {
  /** `role/index`, for messages and the log's name. */
  readonly workerId: string;
  /** Environment of the engine's interpreter. */
  readonly env: Readonly<Record<string, string>>;
  readonly python?: string | undefined;
  /** Module run as `python -m` instead of the engine host. */
  readonly cmd?: string | undefined;
  readonly cwd?: string | undefined;
  readonly pty: boolean;
  /** What its engines take of its bundle when the first one starts (placement `deferred`). */
  readonly claim?: ResourceAmounts | undefined;
  /** `none`: `env` names devices that belong to another worker's lease (grouped colocation). */
  readonly isolation: "env" | "none";
  readonly graceMs: number;
  readonly startTimeoutMs: number;
}

/** What an RPC server says of itself. */
export interface ServerInfo {
  readonly workerId: string;
  readonly nodeId: string;
  readonly actorId: string;
  readonly pid: number;
  /** Variables that show this worker's devices, as its raylet wrote them. */
  readonly deviceEnv: Readonly<Record<string, string>>;
  /** Ports that it leased, by name. */
  readonly ports: Readonly<Record<string, readonly number[]>>;
  /** The engine host, once it has started. */
  readonly engine?:
    | { readonly engineId: string; readonly pid: number; readonly logPath: string; readonly running: boolean }
    | undefined;
}

/** What came of the end of a server's engines. */
export interface ServerStopped {
  readonly killed: number;
  /** Processes that could not be killed. */
  readonly left: number;
}
