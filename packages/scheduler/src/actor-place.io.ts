import { randomIds, systemClock } from "@whipray/core";
import { type EngineLauncher, EngineProcess } from "@whipray/engine";
import { portsLease } from "@whipray/rpc";
import { openParts, requireActorContext } from "@whipray/worker";
import type { ServerPlace } from "./engine-server.ts";

/** Variables that vendors' plugins write. */
const DEVICE_VARIABLES = ["CUDA_VISIBLE_DEVICES", "ASCEND_RT_VISIBLE_DEVICES"];

/** Handles of other RPC servers, by the engines that they stand before. */
const servers = new Map<string, Promise<unknown>>();

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
    warn: (text) => void process.stderr.write(`whipray: ${text}\n`),
    launch: (spec) => EngineProcess.launch(launcher, spec),
    leasePorts: (owner, count) => context.raylet.invoke(portsLease, { owner, count, reserve: false }),
    open: (parts) => openParts(parts, context.objects),
    askServer: async (engine, name, method, parts, signal) => {
      // Loaded when it is needed: most servers never call another one.
      const { callRaw, currentCluster } = await import("whipray");
      const found = servers.get(engine) ?? currentCluster()!.getActor(name);
      servers.set(engine, found);
      const handle = await found.catch((error: unknown) => {
        servers.delete(engine);
        throw error;
      });
      return callRaw(handle, method, parts, { signal });
    },
  };
}
