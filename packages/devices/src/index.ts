export { DECLARED_LIMIT, type DetectOptions, detectDevices, type NodeDevices } from "./detect.ts";
export {
  type Device,
  type DeviceHealth,
  type DeviceProcess,
  type DeviceStats,
  lockNameOf,
  type UnusableDevice,
} from "./device.ts";
export { fakeMachine, fakeMachineNames } from "./fake-machine.ts";
export {
  type Fingerprint,
  type FingerprintState,
  type ProbeFailure,
  type ProcessReport,
  refreshFingerprint,
  type StatsReport,
} from "./fingerprint.ts";
export { type DeviceLink, type LinkKind, linkScore } from "./link.ts";
export type { DevicePlugin, VisibilityRequest } from "./plugin.ts";
export { PROBE_KILL_GRACE_MS, type SystemProbeOptions, systemProbe } from "./probe.io.ts";
export {
  type DeviceFile,
  type Environment,
  type FileUsers,
  type Listing,
  PROBE_FILE_LIMIT_BYTES,
  PROBE_LIMIT_MS,
  PROBE_OUTPUT_LIMIT_BYTES,
  type Probe,
  type ProbeEnd,
  type ProbeOutcome,
} from "./probe.ts";
export { type MemoryMachine, type MemoryProbe, memoryProbe, type ToolStory } from "./probe-memory.ts";
export { DEFAULT_THREADS, THREAD_VARIABLES, threadVariables } from "./thread-variables.ts";
export { DEVICE_LIMIT } from "./tool-lines.ts";
export { ascend } from "./vendors/ascend.ts";
export { FAKE_VENDOR, type FakePluginOptions, fakeDevice, fakePlugin } from "./vendors/fake.ts";
export { builtinPlugins } from "./vendors/index.ts";
export { nvidia } from "./vendors/nvidia.ts";
export { deviceVariables, isNoset, overriddenVariables, reservedVariables } from "./visibility.ts";
export { VISIBLE_LIST_LIMIT, visibleListOf } from "./visible-list.ts";
