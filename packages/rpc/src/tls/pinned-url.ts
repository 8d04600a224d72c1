import { invalidAddress } from "../dialing.ts";

/** What a pin looks like: SHA-256 in hex, of a public key as DER (RFC 7469 takes the same bytes). */
export const PIN_PATTERN = /^[0-9a-f]{64}$/;
const FRAGMENT = "#pin=";

/** The address of a TLS server together with what proves it: `wss://host:port#pin=<64 hex digits>`. */
export function withPin(url: string, pin: string): string {
  return `${withoutPin(url)}${FRAGMENT}${pin}`;
}

/** The address alone, for people and logs. */
export function withoutPin(url: string): string {
  return url.split("#", 1)[0]!;
}

/** The pin that an address carries. @throws WhiprayError `INVALID_ADDRESS` for another fragment, and for a pin without TLS. */
export function pinIn(url: string): string | undefined {
  const at = url.indexOf("#");
  if (at < 0) return undefined;
  const pin = url.startsWith(FRAGMENT, at) ? url.slice(at + FRAGMENT.length).toLowerCase() : "";
  if (!PIN_PATTERN.test(pin))
    throw invalidAddress(url, "may end with #pin= and 64 hex digits, and with no other fragment");
  if (!url.startsWith("wss:")) throw invalidAddress(url, "has a pin: only wss: can prove one");
  return pin;
}
