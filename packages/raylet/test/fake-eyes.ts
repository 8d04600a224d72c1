import type { DeviceEyes, DeviceLook, DeviceUser, LockHolder, SeenDevice } from "../src/device-eyes.ts";

/** A machine of two GPUs that shows what the test says. */
export class FakeEyes implements DeviceEyes {
  devices: SeenDevice[] = [
    { uuid: "gpu-0", health: "ok", users: [] },
    { uuid: "gpu-1", health: "ok", users: [] },
  ];
  stale: string | undefined;
  looks = 0;
  /** Looks do not come back before this is called. */
  blocked: PromiseWithResolvers<void> | undefined;
  /** Grants that asked who uses the devices. */
  asked = 0;
  /** They are not answered before this is called. */
  late: PromiseWithResolvers<void> | undefined;

  async look(): Promise<DeviceLook> {
    this.looks++;
    await this.blocked?.promise;
    return { devices: this.devices, ...(this.stale !== undefined && { stale: this.stale }) };
  }

  async users(): Promise<ReadonlyMap<string, readonly DeviceUser[]>> {
    this.asked++;
    await this.late?.promise;
    return new Map(this.devices.flatMap(({ uuid, users }) => (users ? [[uuid, users] as const] : [])));
  }

  async holders(): Promise<ReadonlyMap<string, LockHolder>> {
    return new Map(this.devices.flatMap(({ uuid, holder }) => (holder ? [[uuid, holder] as const] : [])));
  }

  see(index: number, seen: Partial<SeenDevice>): void {
    this.devices[index] = { ...this.devices[index]!, ...seen };
  }
}
