import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { daemons } from "whipray";
import { CABLE_PREFIX_BITS, type CablePlan, cablePlans, TRIAL_NETWORK } from "./network-plan.ts";

/** Mount, IPC, pid and host-name namespaces of their own; what runs inside ends with `unshare`. */
const UNSHARE = ["unshare", "--mount", "--ipc", "--uts", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"];

/** Arguments: folders that become empty, `--`, the command. */
const HIDE = 'while [ "$1" != "--" ]; do mount -t tmpfs -o mode=700 tmpfs "$1"; shift; done; shift; exec "$@"';

/** What a foreign machine has. */
export interface ForeignMachine {
  hostName: string;
  /** Folders that are empty there: a path of another "machine" that leaks over the wire opens nothing. */
  hidden: readonly string[];
  /** With cables it has a network namespace of its own, and these lead out of it. */
  cables?: readonly CablePlan[] | undefined;
}

/** A command that runs another one as if on a machine of its own, or why this machine does not allow that. */
export type ForeignWrapper = { wrapper: string[]; note?: undefined } | { wrapper: []; note: string };

/** Hides folders of other machines from a command that otherwise runs as one of this machine: a path that leaks opens nothing. */
export function nativeWrapper(hidden: readonly string[]): ForeignWrapper {
  const own = ["unshare", "--mount"];
  const note = refusal([...own, "true"]);
  if (note !== undefined) return { wrapper: [], note: `no mount namespace: ${note}` };
  return { wrapper: [...own, "sh", "-ec", HIDE, "sh", ...hidden, "--"] };
}

/** Wraps a command so that it has its own processes, host name, /dev/shm, and, with cables, its own network. */
export function foreignWrapper(machine: ForeignMachine): ForeignWrapper {
  const note = refusal([...UNSHARE, "true"]);
  if (note !== undefined) return { wrapper: [], note: `no namespaces for ${machine.hostName}: ${note}` };
  return { wrapper: wrapped(machine) };
}

/** Why this machine does not allow a network namespace with veth pairs, found out by making one; undefined when it does. */
export function networkRefusal(): string | undefined {
  const cables = cablePlans(TRIAL_NETWORK, `wkt${process.pid.toString(36)}-`);
  const note = refusal([...wrapped({ hostName: "n", hidden: [], cables }), "true"]);
  return note === undefined ? undefined : `no network namespace with a veth pair here: ${note}`;
}

/**
 * The script makes the veth pairs from inside of the new namespace and moves our ends out, through a descriptor of our network
 * namespace: so they go with the namespace, whoever is killed, and nobody has to clean up. Ends of an earlier start may still be
 * on their way out.
 */
function wrapped({ hostName, hidden, cables }: ForeignMachine): string[] {
  const own =
    cables === undefined ? UNSHARE : ["sh", "-c", `exec 9</proc/self/ns/net; exec "$@"`, "sh", ...UNSHARE, "--net"];
  const outside = "nsenter --net=/proc/self/fd/9 ip";
  const plug = ({ hostLink, nodeLink, hostAddress, nodeAddress }: CablePlan): string[] => [
    `${outside} link del ${hostLink} 2>/dev/null || true`,
    `ip link add ${nodeLink} type veth peer name ${hostLink} netns /proc/self/fd/9`,
    `${outside} addr add ${hostAddress}/${CABLE_PREFIX_BITS} dev ${hostLink}`,
    `${outside} link set ${hostLink} up`,
    `ip addr add ${nodeAddress}/${CABLE_PREFIX_BITS} dev ${nodeLink}`,
    `ip link set ${nodeLink} up`,
  ];
  const network = cables === undefined ? [] : ["ip link set lo up", ...cables.flatMap(plug), "exec 9<&-"];
  const script = ['name=$1 && shift && hostname "$name"', ...network, "mount -t tmpfs tmpfs /dev/shm", HIDE].join("\n");
  return [...own, "sh", "-ec", script, "sh", hostName, ...hidden, "--"];
}

function refusal(command: readonly string[]): string | undefined {
  const { status, error, stderr } = spawnSync(command[0]!, command.slice(1), { encoding: "utf8" });
  return status === 0 ? undefined : (error?.message ?? stderr.trim());
}

/** The only child of a process; undefined while, or when, it has none. */
export function childOf(pid: number): number | undefined {
  for (const name of readdirSync("/proc")) {
    const candidate = Number(name);
    if (Number.isInteger(candidate) && daemons.parentOf(candidate) === pid) return candidate;
  }
  return undefined;
}
