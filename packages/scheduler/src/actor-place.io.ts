import { randomIds, systemClock, WhiprayError } from "@whipray/core";
import { type EngineLauncher, EngineProcess } from "@whipray/engine";
import { type DeviceGrant, portsLease } from "@whipray/rpc";
import type { ServerPlace } from "./engine-server.ts";

// Where `@whipray/worker` keeps the actor of this process, for every copy of every package.
const CONTEXT = Symbol.for("whipray.worker.context");
/** Variables that vendors' plugins write. */
const DEVICE_VARIABLES = ["CUDA_VISIBLE_DEVICES", "ASCEND_RT_VISIBLE_DEVICES"];

type Context = Omit<EngineLauncher, "clock" | "ids"> & { readonly devices: readonly DeviceGrant[] };

/** This process as the place of an RPC server. @throws WhiprayError `NOT_IN_ACTOR`. */
export function actorPlace(): ServerPlace {
  const context = (globalThis as { [CONTEXT]?: Context })[CONTEXT];
  if (!context) {
    throw new WhiprayError({ code: "NOT_IN_ACTOR", message: "An RPC server runs as an actor; a scheduler makes it" });
  }
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
