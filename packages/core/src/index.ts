export { type AbortOptions, abortable } from "./abortable.ts";
export { type BackoffPolicy, backoffMs } from "./backoff.ts";
export { type Clock, delay, LONGEST_TIMER_MS, systemClock, type Timer } from "./clock.ts";
export { chooseFraction, chooseWhole, type FreeDevice, type LinkRule } from "./device-choice.ts";
export {
  DeviceTopology,
  LINK_KINDS_LIMIT,
  LINKED_DEVICES_LIMIT,
  type LinkMatrix,
  type LinkWord,
  linkDomains,
  type NamedLink,
  packLinks,
  type TopologyDevice,
} from "./device-topology.ts";
export { cpusOf, numaNodesOf, showDevices, showIndices, showLinks } from "./device-words.ts";
export {
  ERROR_CAUSE_LIMIT,
  ERROR_TEXT_LIMIT,
  type ErrorWire,
  errorFromWire,
  errorToWire,
  raisedAt,
} from "./error-wire.ts";
export { asWhiprayError, type Where, WhiprayError, type WhiprayErrorInit } from "./errors.ts";
export { byHybrid, type HybridNode, hybridScore, SPREAD_THRESHOLD } from "./hybrid.ts";
export { ID_KINDS, ID_LENGTH, type IdKind, type IdSource, isId, randomIds, seededIds } from "./ids.ts";
export { type LabelSelector, matchesLabels, showLabels } from "./labels.ts";
export { type LogFields, type Logger, redact, silentLogger } from "./logger.ts";
export { BoundedQueue } from "./queue.ts";
export { type RandomSource, seededRandom, systemRandom } from "./random.ts";
export {
  ActorAlreadyExistsError,
  ActorDiedError,
  ActorHandleNotFoundError,
  ActorPlacementGroupRemoved,
  ActorUnavailableError,
  ActorUnschedulableError,
  AuthenticationError,
  DeviceLostError,
  ERROR_CLASSES,
  GetTimeoutError,
  NodeDiedError,
  ObjectFreedError,
  ObjectLostError,
  ObjectStoreFullError,
  OutcomeUnknownError,
  OutOfDiskError,
  OutOfMemoryError,
  OwnerDiedError,
  PendingCallsLimitExceeded,
  RayActorError,
  RayError,
  RayTaskError,
  RuntimeEnvSetupError,
  TaskCancelledError,
  TaskPlacementGroupRemoved,
  TaskUnschedulableError,
  WorkerCrashedError,
} from "./ray-errors.ts";
export {
  addUnits,
  covers,
  DEVICE_RESOURCES,
  isEmpty,
  LARGEST_AMOUNT,
  PROCESS_AMOUNTS,
  RESOURCE_KINDS_LIMIT,
  type ResourceAmounts,
  type ResourceUnits,
  scaleOf,
  shortfall,
  showAmount,
  subtractUnits,
  toAmounts,
  toProcessUnits,
  toUnits,
  UNITS_PER_ONE,
  type Units,
  WHOLE_RESOURCES,
} from "./resources.ts";
export { sibling } from "./sibling.ts";
export { SimulatedClock, settle } from "./simulated-clock.ts";
