import { accessSync, constants, existsSync, statfsSync } from "node:fs";
import { dirname, join } from "node:path";
import { asWhiprayError } from "@whipray/core";
import { fileError } from "../file-error.ts";
import type { Places } from "../places.io.ts";
import { checkHeadSocket, checkRayletSockets } from "../socket-room.ts";
import type { LimitReport } from "./doctor-report.ts";

/** Free space below which logs, journal and spilled objects soon fail. */
export const FOLDER_FREE_NEEDED_BYTES = 268_435_456;

/** Whether daemons of this user could work in their folders. */
export function folderReports({ state, runtimeRoot }: Pick<Places, "state" | "runtimeRoot">): LimitReport[] {
  return [
    folderReport("state folder", state, () => checkHeadSocket(join(state, "head"))),
    folderReport("runtime folder", runtimeRoot, () => checkRayletSockets(runtimeRoot)),
  ];
}

/** Made on the first start: until then the nearest folder above speaks for it. */
function folderReport(name: string, path: string, checkSockets: () => void): LimitReport {
  let there = path;
  while (!existsSync(there) && dirname(there) !== there) there = dirname(there);
  try {
    const { bavail, bsize } = statfsSync(there);
    const free = bavail * bsize;
    const value = `${path}, ${(free / 2 ** 30).toFixed(1)} GiB free`;
    accessSync(there, constants.W_OK | constants.X_OK);
    checkSockets();
    if (free >= FOLDER_FREE_NEEDED_BYTES) return { name, value };
    return { name, value, short: `less than ${FOLDER_FREE_NEEDED_BYTES / 2 ** 20} MiB are free: free some space` };
  } catch (error) {
    return { name, value: path, short: (fileError(error) ?? asWhiprayError(error)).message };
  }
}
