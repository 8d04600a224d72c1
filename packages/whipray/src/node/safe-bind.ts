import { WhiprayError } from "@whipray/core";

const LOOPBACK = /^(127(\.\d{1,3}){3}$|\[?::1\]?$|localhost$)/;

export function isLoopback(host: string): boolean {
  return LOOPBACK.test(host);
}

/** Closed by default: a bind beyond loopback needs TLS, or the explicit permission. @throws WhiprayError `INSECURE_BIND` (design.md, mechanism 15). */
export function requireSafe(host: string, allowed: boolean): void {
  if (isLoopback(host) || allowed) return;
  throw new WhiprayError({
    code: "INSECURE_BIND",
    message: `${host} is not loopback: the token and all data would cross the network in plain text. Use --tls, a tunnel, or --insecure-plaintext if the network is trusted`,
  });
}
