import { WorkerCreationError } from "./errors.ts";

/** What a worker in shared placement takes of its device; the rest is room for forks (AReaL R1). */
export const SHARED_DEVICE_SHARE = 0.9;
/** What a fork takes of its target's device. */
export const FORK_DEVICE_SHARE = 0.01;
/** Forks that fit beside a worker in shared placement. */
export const FORKS_PER_DEVICE = 10;
const UNITS = 10_000;

/**
 * Devices that a worker itself takes of its bundle. Above one device only whole ones exist: a share of 0.9 cannot be had of
 * several, so such a worker takes them all and leaves no room for forks with a device.
 */
export function sharedDevices(gpu: number): number {
  return gpu <= 1 ? Math.floor(gpu * SHARED_DEVICE_SHARE * UNITS) / UNITS : gpu;
}

/**
 * Whether one more fork finds room on its target's device; throws at once instead of waiting for what never comes.
 * @throws WorkerCreationError naming the 0.9 rule.
 */
export function checkForkRoom(
  role: string,
  target: { role: string; bundleDevices: number; takenDevices: number; forks: number },
): void {
  const { bundleDevices, takenDevices, forks } = target;
  const free = Math.round((bundleDevices - takenDevices) * UNITS) - forks * FORK_DEVICE_SHARE * UNITS;
  if (free >= FORK_DEVICE_SHARE * UNITS) return;
  throw new WorkerCreationError(
    role,
    `a fork of role '${target.role}' cannot fit`,
    `its workers take ${takenDevices} of the ${bundleDevices} devices in their bundles and ${forks} forks 0.01 each. A fork with gpu > 0 needs 0.01 of a ` +
      `device that is left: only the placement 'shared' leaves it (the 0.9 rule: a worker of one device takes 0.9, ${FORKS_PER_DEVICE} forks of 0.01 fit beside it). ` +
      `Give role '${target.role}' rayPlacementStrategy 'shared', or the fork gpu 0`,
  );
}
