import type { Device } from "./device.ts";
import type { Fingerprint, ProcessReport, StatsReport } from "./fingerprint.ts";
import type { Environment, Probe } from "./probe.ts";

/** What a plugin needs to show a process its devices. */
export interface VisibilityRequest {
  /** Devices of this plugin that the process was granted, in rank order. Empty hides them all. */
  readonly granted: readonly Device[];
  /** The node's own environment: its visible list decides how a device is written. */
  readonly nodeEnvironment: Environment;
  /** What the user asked for the process; only the NOSET flags are read from it. */
  readonly userEnvironment?: Environment;
  /** All devices that the node offers. TPU writes nothing for a process that gets all of them, as Ray does. */
  readonly offered?: readonly Device[];
}

/**
 * One vendor's accelerators, modelled on Nomad's device plugin: fingerprint (what is here), reserve → environment
 * (`visibility`: what a process may see), stats. A vendor is one file that implements this and one fixture of its tool.
 *
 * Plugins hold no state, and reach the machine through the probe alone.
 */
export interface DevicePlugin {
  /** Lower case, unique: `nvidia`. */
  readonly vendor: string;
  /** Ray's resource name of its devices: `GPU`. Several vendors may share one. */
  readonly resource: string;
  /** The variable that tells a process which devices it may see; undefined where the vendor has none (Apple). */
  readonly visibilityVariable: string | undefined;
  /** All variables that `visibility` writes and nobody may set otherwise (`INVALID_ENV`, reliability B26). */
  readonly reservedVariables: readonly string[];
  /** Flags that keep Ray, and us, from writing the variables; any name set to `1` or `true` does. */
  readonly nosetVariables: readonly string[];
  /** Entries of a visible list that the vendor reads as "no device". */
  readonly noDeviceWords: readonly string[];
  /** The vendor's devices cannot be shared: only whole numbers may be asked for (ray.md section 5). Default false. */
  readonly wholeOnly?: boolean;
  /** How many devices one process may get at once, where not every number works (TPU: 1, 2, 4, 8). Default: any. */
  readonly grantSizes?: readonly number[];
  /** The node's own list as text, where it is not just the variable: ranges, a second variable. */
  ownList?(environment: Environment): string | undefined;
  /**
   * Looks for variables of the node with which this vendor's devices cannot be shown rightly; asked where it has some.
   * @throws WhiprayError `INVALID_VISIBLE_DEVICES`
   */
  checkNode?(environment: Environment): void;
  /** What is on this machine. Never rejects and never throws: a failed probe is the state `unknown`. */
  fingerprint(probe: Probe, signal?: AbortSignal): Promise<Fingerprint>;
  /** Whether an entry of the visible list (an index, a UUID, a UUID's beginning) means this device. */
  names(entry: string, device: Device): boolean;
  /**
   * Variables that make exactly the granted devices visible. Pure. The variable is always written, empty for zero devices
   * (a process without devices must see none, ray.md section 9); nothing is written when a NOSET flag is set.
   * @throws WhiprayError `INVALID_VISIBLE_DEVICES`, `DEVICE_NOT_VISIBLE`
   */
  visibility(request: VisibilityRequest): Record<string, string>;
  /** What the devices are doing; for no devices nothing is run. Never rejects. */
  stats(probe: Probe, devices: readonly Device[], signal?: AbortSignal): Promise<StatsReport>;
  /**
   * Which processes use these devices, ours and others (reliability F33). Never rejects; a vendor that cannot tell answers
   * `unknown`.
   */
  processes(probe: Probe, devices: readonly Device[], signal?: AbortSignal): Promise<ProcessReport>;
}
