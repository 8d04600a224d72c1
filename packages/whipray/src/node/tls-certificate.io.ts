import { hostname, networkInterfaces } from "node:os";
import { systemClock } from "@whipray/core";
import { certificates, type ServerCertificate } from "@whipray/rpc";
import type { Authority } from "./authority-files.io.ts";

/** Names in one certificate: hosts of containers have hundreds of addresses. */
export const CERTIFICATE_NAMES_LIMIT = 64;

/** A certificate for a server that starts now; its key is in this process' memory alone. Without an authority it signs itself. */
export async function newCertificate(
  names: readonly [string, ...string[]],
  authority?: Authority,
): Promise<ServerCertificate> {
  const { serverCertificate } = await certificates();
  return serverCertificate({ names, wallMs: systemClock.wallMs(), authority });
}

/**
 * The names and addresses that a server on `host` is asked by. Nobody of ours looks at them, since pins prove more; other clients of
 * the same port do, who were given the authority.
 */
export function namesOf(host: string, ip?: string): [string, ...string[]] {
  const wildcard = host === "0.0.0.0" || host === "::";
  const own = Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map(({ address }) => address));
  const bound = wildcard ? own.filter((address) => !address.startsWith("fe80:")) : [host];
  const [first = "localhost", ...rest] = new Set([
    "localhost",
    hostname(),
    "127.0.0.1",
    "::1",
    ...(ip ? [ip] : []),
    ...bound,
  ]);
  return [first, ...rest.slice(0, CERTIFICATE_NAMES_LIMIT - 1)];
}
