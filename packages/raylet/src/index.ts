export { BeatLoop, type BeatLoopOptions } from "./beat-loop.ts";
export { type BeatCommand, type BeatNews, type BeatThreadParts, runBeatThread } from "./beat-thread.ts";
export type { BeatListener, BeatPeer, Beats, BeatTerms } from "./beats.ts";
export { ChildProcesses, spawnArguments } from "./child-processes.io.ts";
export type { DeviceEyes, DeviceLook, DeviceUser, LockHolder, SeenDevice } from "./device-eyes.ts";
export { deviceLocks } from "./device-locks.io.ts";
export { deviceUser } from "./device-users.io.ts";
export {
  baseVariables,
  type DeviceVisibility,
  type EngineEnvironmentAsk,
  engineEnvironment,
  type Variables,
  workerEnvironment,
} from "./engine-environment.ts";
export { EngineGuards, type EngineGuardsOptions } from "./engine-guards.io.ts";
export type { Secrets } from "./engine-service.ts";
export { checkEnvironment } from "./environment-names.ts";
export { type GuardLink, localGuardLink, type ThreadedGuardLink, threadedGuardLink } from "./guard-link.io.ts";
export type { GuardedTree, GuardSpec, Guards, TreeEnd } from "./guards.ts";
export { describeMachine, readHostFacts } from "./host-facts.io.ts";
export { type HostFacts, nodeScalars } from "./host-facts.ts";
export { type Lease, type LeaseAnswer, type LeaseAsk, Ledger, type NodeTotals, type PrepareAnswer } from "./ledger.ts";
export { LocalDrivers } from "./local-drivers.ts";
export { lockHolders } from "./lock-holders.io.ts";
export { LogFiles, type LogFilesOptions } from "./log-files.io.ts";
export type { Logs, LogWriter, OutputStream } from "./logs.ts";
export { MemoryEngine, MemoryGuards } from "./memory-guards.ts";
export { MemoryLog, MemoryLogs } from "./memory-logs.ts";
export { MemoryChild, MemoryProcesses } from "./memory-processes.ts";
export { nodeDevices } from "./node-devices.ts";
export type { NodeDevice, NodeIdentity } from "./node-identity.ts";
export {
  BEAT_MS,
  FENCE_MS,
  type Fence,
  HEAD_OUTAGE_MS,
  type LeaseState,
  type LeaseTurn,
  NodeLease,
  type OwnRenewals,
  type PeerAnswer,
  SUSPECT_MS,
} from "./node-lease.ts";
export { loadObjectService } from "./object-door.ts";
export { PluginEyes, type PluginEyesOptions } from "./plugin-eyes.ts";
export { pluginVisibility } from "./plugin-visibility.ts";
export { bindTest, PortFile } from "./port-file.io.ts";
export { type PortLease, type PortRange, PortTable, portRange } from "./port-table.ts";
export { MemoryPortStore, type PortProbe, type PortStore, Ports } from "./ports.ts";
export type { Child, ProcessExit, Processes, SpawnSpec, SweepOutcome } from "./processes.ts";
export { Raylet, type RayletOptions, type RayletParts } from "./raylet.ts";
export { nodeDirectory, openNode, type RealNode, type RealNodeOptions } from "./real-node.io.ts";
export { closeRuntimeDirectory, openRuntimeDirectory, type SweepReport, sweepDead } from "./runtime-directory.io.ts";
export { type RuntimeDirectory, runtimeDirectory, runtimeRoot, SOCKET_PATH_LIMIT_BYTES } from "./runtime-directory.ts";
export type { Terminal } from "./terminal.ts";
export { threadedBeats } from "./threaded-beats.io.ts";
export { type EarlyWorker, type WorkerStart, workerSpec } from "./worker-start.ts";
