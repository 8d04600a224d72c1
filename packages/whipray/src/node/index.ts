/**
 * Heads and raylets as processes, the files that they and their drivers find each other by, and what a driver does with objects. For the CLI and
 * the testkit.
 */

export { getRefs, waitRefs } from "../get-wait.ts";
export { objectAccess } from "../object-home.ts";
export { ObjectStore, objectGet } from "../object-store.ts";
export { ownVersion } from "../version.io.ts";
export { type ClusterTokens, clusterTokens } from "./access.ts";
export { addressPath, driverUrl } from "./address-file.io.ts";
export { type ClusterFile, openClusterDirectory, readClusterFile } from "./cluster-file.io.ts";
export type { DaemonConfig, HeadDaemonConfig, RayletDaemonConfig } from "./daemon-config.ts";
export { type LaunchedDaemon, type LaunchOptions, lastLines, launchDaemon } from "./daemon-launch.io.ts";
export {
  type DaemonState,
  daemonRuns,
  daemonsFolder,
  listDaemons,
  parentOf,
  processStartTime,
  readDaemonState,
  removeFile,
  writeFileAtomic,
} from "./daemon-state.io.ts";
export { type JoinString, joinUrl, parseJoinString, showJoinString } from "./join-string.ts";
export { isLoopback, requireSafe } from "./safe-bind.ts";
export { sweepRuntime } from "./sweep-runtime.io.ts";
export { readToken, tokenPath, writeToken } from "./token-file.io.ts";
