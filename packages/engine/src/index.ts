export type { Door } from "./engine-doors.ts";
export { CAUSE_WAIT_MS, DRAIN_MS, EngineProcess, type EngineStopped } from "./engine-process.ts";
export { type Callee, forwardCall } from "./forward.ts";
export { decodeHostValue, encodeHostRequest, HOST_METHODS } from "./host-methods.ts";
export { engineHostPath } from "./host-path.ts";
export { DEFAULT_GRACE_MS, DEFAULT_START_TIMEOUT_MS, type EngineLauncher, type EngineSpec } from "./launcher.ts";
