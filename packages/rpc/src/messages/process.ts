import {
  anything,
  bool,
  bytes,
  count,
  type Infer,
  id,
  integer,
  list,
  method,
  oneOf,
  optional,
  record,
  shape,
  str,
} from "../fields.ts";
import { ACTOR_ARGS_LIMIT_BYTES, actorSpecField, deathCauseField } from "./actor.ts";
import { deviceGrantField, unitsField } from "./resources.ts";
import { workingCopyField } from "./runtime-env.ts";

/** worker → raylet, first call on its control link. */
export const workerReady = method(
  "worker.ready",
  shape({ workerId: id("worker"), pid: count(), socket: str(512) }),
  anything,
);
/** raylet → worker: become this actor. Environment is set before the module's first import. */
export const actorHost = method(
  "actor.host",
  shape({
    spec: actorSpecField,
    epoch: count(),
    leaseId: id("lease"),
    devices: list(deviceGrantField),
    env: record(str(1_048_576), 4_096),
    /** It is the working directory, and modules that the node lacks are loaded from there. */
    workingCopy: optional(workingCopyField),
    args: list(bytes(ACTOR_ARGS_LIMIT_BYTES), 64),
    /** What the actor needs to reach the cluster itself. */
    head: str(512),
  }),
  anything,
);
/** raylet → worker: leave; exit handlers of the actor run, at most `graceMs`. */
export const workerExit = method("worker.exit", shape({ graceMs: count() }), anything);

/** worker → raylet: start a Python engine host under a guard. It dials `socket` of the asking worker. */
export const engineStart = method(
  "engine.start",
  shape({
    engineId: id("engine"),
    /** Actor whose lease the engine runs in: same devices, dies with it. */
    actorId: id("actor"),
    epoch: count(),
    python: optional(str(4_096)),
    /** Arguments after the interpreter; empty starts the engine host of `@whipray/engine`. */
    argv: list(str(131_072), 4_096),
    cwd: optional(str(4_096)),
    /** Environment by the layers of mechanism 9, from `setWorkerEnv` and the user's spec; device variables come last. */
    env: record(str(1_048_576), 4_096),
    isolation: oneOf("env", "none"),
    /** Devices to show when fewer than the lease's; absent = all of the lease. */
    devices: optional(list(deviceGrantField)),
    /**
     * Taken of the actor's bundle for its engines, beside its own lease, and held until the actor ends; the first one that asks takes it
     * for all. CLAIM_REFUSED when the bundle has not so much left.
     */
    claim: optional(unitsField),
    pty: bool,
    /** Socket of the worker that the host dials, and the token it says there. */
    socket: str(512),
    token: str(128),
    logName: str(128),
    graceMs: count(),
  }),
  shape({ pid: count(), logPath: str(4_096) }),
);
export type EngineStart = Infer<(typeof engineStart)["request"]>;
/** worker → raylet; the reply comes when no process of the tree is left. */
export const engineStop = method(
  "engine.stop",
  shape({ engineId: id("engine"), graceMs: count() }),
  shape({ found: bool, killed: count(), left: count() }),
);
/** raylet → worker: the engine's root process ended. */
export const engineEnded = method("engine.ended", shape({ engineId: id("engine"), cause: deathCauseField }), anything);
/** Anybody on the node → raylet: why did this process end? Waits up to `timeoutMs` for the answer. */
export const processCause = method(
  "process.cause",
  shape({ process: str(256), timeoutMs: count() }),
  shape({ cause: optional(deathCauseField) }),
);

/** worker → raylet: ports of this host below the ephemeral range, held until the lease ends or they are given back. */
export const portsLease = method(
  "ports.lease",
  shape({ count: count(1_024), owner: str(128), reserve: bool }),
  shape({ ports: list(integer(1, 65_535)), ip: str(64) }),
);
export const portsRelease = method(
  "ports.release",
  shape({ owner: str(128), ports: optional(list(integer(1, 65_535))) }),
  anything,
);

/** Anybody → raylet: the last lines of the log of a process, of an actor (by its id) or of its latest engine (`<actor id>.engine`), ended ones too. */
export const logTail = method(
  "log.tail",
  shape({ process: str(256), lines: count(100_000) }),
  shape({ lines: list(str(65_536), 100_000), path: str(4_096) }),
);
export type ProcessCause = Infer<(typeof processCause)["reply"]>;
