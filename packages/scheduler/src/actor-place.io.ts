import { randomIds, systemClock } from "@whipray/core";
import { type EngineLauncher, EngineProcess } from "@whipray/engine";
import { portsLease } from "@whipray/rpc";
import { requireActorContext } from "@whipray/worker";
import type { ServerPlace } from "./engine-server.ts";

/** Variables that vendors' plugins write. */
const DEVICE_VARIABLES = ["CUDA_VISIBLE_DEVICES", "ASCEND_RT_VISIBLE_DEVICES"];

/** This process as the place of an RPC server. @throws WhiprayError `NOT_IN_ACTOR`. */
export function actorPlace(): ServerPlace {
  const context = requireActorContext();
  const launcher: EngineLauncher = { ...context, clock: systemClock, ids: randomIds() };
  const shown = context.devices.length === 0 ? [] : DEVICE_VARIABLES.filter((name) => process.env[name] !== undefined);
  return {
    nodeId: context.nodeId,
    actorId: context.actorId,
    pid: process.pid,
    deviceEnv: Object.fromEntries(shown.map((name) => [name, process.env[name] ?? ""])),
    launch: (spec) => EngineProcess.launch(launcher, spec),
    leasePorts: (owner, count) => context.raylet.invoke(portsLease, { owner, count, reserve: false }),
  };
}
