import type { LimitReport } from "./doctor-report.ts";

/** Open files that a raylet with a full machine of workers and engines needs. */
export const OPEN_FILES_NEEDED = 4_096;
/** Objects above 100 KiB live in /dev/shm; Docker's default of 64 MiB is too small for any training. */
export const SHM_NEEDED_BYTES = 1_073_741_824;
/** Processes of a machine with eight ranks and their loaders. */
export const PROCESSES_NEEDED = 4_096;

/** From here on a cgroup's limit is none: 2^63 less a page. */
const CGROUP_NO_LIMIT = 2 ** 62;

export interface LimitFacts {
  /** Text of /proc/self/limits. */
  readonly limits: string;
  /** Size of /dev/shm; undefined when it is not there. */
  readonly shmBytes: number | undefined;
  readonly shmFreeBytes: number | undefined;
  /** Files of the own cgroup that say something: `pids.max` → `1024`. */
  readonly cgroup: Readonly<Record<string, string>>;
}

/** What the kernel allows this user. Pure. */
export function limitReports({ limits, shmBytes, shmFreeBytes, cgroup }: LimitFacts): LimitReport[] {
  const files = softLimit(limits, "Max open files");
  const processes = softLimit(limits, "Max processes");
  const gib = (bytes: number | undefined) => (bytes === undefined ? "-" : `${(bytes / 2 ** 30).toFixed(1)} GiB`);
  return [
    { name: "open files", value: show(files), short: below(files, OPEN_FILES_NEEDED, "raise it with ulimit -n") },
    { name: "processes", value: show(processes), short: below(processes, PROCESSES_NEEDED, "raise it with ulimit -u") },
    { name: "locked memory", value: show(softLimit(limits, "Max locked memory")) },
    {
      name: "/dev/shm",
      value: shmBytes === undefined ? "missing" : `${gib(shmBytes)}, ${gib(shmFreeBytes)} free`,
      short:
        shmBytes === undefined
          ? "objects cannot be shared between processes"
          : below(shmBytes, SHM_NEEDED_BYTES, "in a container raise it with --shm-size"),
    },
    ...Object.entries(cgroup).map(([name, value]) => ({ name: `cgroup ${name}`, value: showCgroup(value) })),
  ];
}

/** Undefined: not told; Infinity: unlimited. */
function softLimit(text: string, name: string): number | undefined {
  const line = text.split("\n").find((one) => one.startsWith(name));
  const value = line?.slice(name.length).trim().split(/\s+/)[0];
  if (value === "unlimited") return Infinity;
  return value !== undefined && /^\d+$/.test(value) ? Number(value) : undefined;
}

/** v2 says `max` or `max 100000`, v1 −1 or the largest whole page count. */
function showCgroup(value: string): string {
  const none = /^max\b|^-1$/.test(value) || Number(value) >= CGROUP_NO_LIMIT;
  return none ? "unlimited" : value;
}

function show(value: number | undefined): string {
  return value === undefined ? "not known" : value === Infinity ? "unlimited" : String(value);
}

function below(value: number | undefined, needed: number, advice: string): string | undefined {
  return value === undefined || value >= needed ? undefined : `below ${needed}: ${advice}`;
}
