import { WhiprayError } from "@whipray/core";
import { daemons } from "whipray";

export interface StartFlags {
  head?: boolean;
  address?: string;
  host: string;
  port: number;
  rayletPort: number;
  nodeIp?: string;
  nodeName?: string;
  numCpus?: number;
  numGpus?: number;
  numNpus?: number;
  memory?: number;
  resources?: Record<string, number>;
  fakeDevices?: string;
  labels?: Record<string, string>;
  join?: string;
  joinTokenFile?: string;
  directory?: string;
  tls?: boolean;
  insecurePlaintext?: boolean;
  secondRaylet?: boolean;
  block?: boolean;
  waitSeconds: number;
  json?: boolean;
}

/** What the flags must and must not say together. @throws WhiprayError `USAGE`, `INSECURE_BIND`. */
export function checkStartFlags(flags: StartFlags): void {
  const { head, address, join, joinTokenFile, host, tls, insecurePlaintext = false, directory, secondRaylet } = flags;
  if (head && address !== undefined) throw usage("--head starts a cluster and --address joins one; give one of them");
  if (!head && address === undefined) throw usage("Give --head to start a cluster, or --address HOST:8265 to join one");
  if (head && (join ?? joinTokenFile) !== undefined) throw usage("--join and --join-token-file go with --address");
  if (!head && directory !== undefined) throw usage("--directory is the head's, and goes with --head");
  if (!head && join === undefined && joinTokenFile === undefined) {
    throw usage("Joining needs the line that the head printed: --join-token-file FILE or --join TOKEN");
  }
  if (!head && tls) throw usage("--tls goes with --head: a machine that joins takes it from the join token");
  if (head && secondRaylet) throw usage("--second-raylet goes with --address: a head brings the first one");
  if (head) daemons.requireSafe(host, tls === true || insecurePlaintext);
}

/** Counts of the node, as a raylet takes them. Empty: what the machine has. */
export function nodeResources(flags: StartFlags): Record<string, number> {
  const { numCpus, numGpus, numNpus, memory, resources = {} } = flags;
  const counts = Object.entries({ CPU: numCpus, GPU: numGpus, NPU: numNpus, memory });
  return {
    ...resources,
    ...Object.fromEntries(counts.filter((entry): entry is [string, number] => entry[1] !== undefined)),
  };
}

function usage(message: string): WhiprayError {
  return new WhiprayError({ code: "USAGE", message });
}
