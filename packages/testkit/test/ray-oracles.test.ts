import { globSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import * as whipray from "whipray";

const PACKAGES = fileURLToPath(new URL("../../", import.meta.url));
/** Numbers of Ray's behaviours in the specification, section 8, without those of jobs (70 to 80), which have a home of their own. */
const KEPT = [
  ...[1, 2, 3, 4, 5, 7, 8, 10, 11, 12, 13, 14, 15, 16, 17, 19, 20, 22, 23, 25, 27, 28, 29, 30, 31, 32, 33, 35, 37, 39],
  ...[40, 41, 42, 43, 44, 46, 48, 49, 51, 52, 54, 55, 56, 57, 59, 60, 61, 62, 63, 65, 67, 69, 81, 82, 83],
];

/** Of the specification, 3.4. */
const ERRORS =
  `RayError RayTaskError RayActorError ActorDiedError ActorUnavailableError ActorAlreadyExistsError ActorHandleNotFoundError
  ActorUnschedulableError TaskUnschedulableError ActorPlacementGroupRemoved TaskPlacementGroupRemoved TaskCancelledError WorkerCrashedError
  NodeDiedError LocalRayletDiedError OutOfMemoryError RuntimeEnvSetupError GetTimeoutError ObjectLostError OwnerDiedError
  ObjectFetchTimedOutError ObjectFreedError ReferenceCountingAssertionError ObjectReconstructionFailedError ObjectStoreFullError OutOfDiskError
  PendingCallsLimitExceeded AuthenticationError RpcError RaySystemError RayChannelError RayChannelTimeoutError AsyncioActorExit
  UnserializableException CrossLanguageError ObjectRefStreamEndOfStreamError PlasmaObjectNotAvailable`.split(/\s+/);

test("every error of Ray is exported, or docs/differences-from-ray.md says what is here instead", () => {
  const told = readFileSync(`${PACKAGES}../docs/differences-from-ray.md`, "utf8");
  expect(ERRORS.filter((name) => !(name in whipray) && !told.includes(`\`${name}\``))).toEqual([]);
});

test("every behaviour of Ray that we keep has a test that names it, as `Ray 8.1, 8.2: …`", () => {
  const named = new Set<number>();
  for (const file of globSync("*/test/**/*.test.ts", { cwd: PACKAGES })) {
    for (const [numbers] of readFileSync(`${PACKAGES}${file}`, "utf8").matchAll(/ray 8\.\d+(?:, 8\.\d+)*/gi))
      for (const [, number] of numbers.matchAll(/8\.(\d+)/g)) named.add(Number(number));
  }
  expect(KEPT.filter((number) => !named.has(number))).toEqual([]);
});
