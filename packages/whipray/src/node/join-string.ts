import { isId, WhiprayError } from "@whipray/core";
import { PIN_PATTERN, pinIn, withoutPin, withPin } from "@whipray/rpc";
import { headUrl } from "../head-url.ts";

/** What a machine needs beside the head's address to join: which cluster, the token of a raylet, and what proves a head with TLS. */
export interface JoinString {
  clusterId: string;
  token: string;
  /** Of the head's authority; none for a head that speaks plain text. */
  pin?: string | undefined;
}

/** `cluster_…:64 hex digits`, with TLS `:` and the pin's 64: one word for a command line or a file. */
export function showJoinString({ clusterId, token, pin }: JoinString): string {
  return [clusterId, token, ...(pin === undefined ? [] : [pin])].join(":");
}

/**
 * Where a raylet with this join string dials `address`: the pin of the one, or of the other, or both when they are the same. A unix
 * socket needs none.
 * @throws WhiprayError `INVALID_ADDRESS`; `TLS_REQUIRED` for `ws:` to a cluster with TLS; `TLS_PIN_MISMATCH` for two pins.
 */
export function joinUrl(address: string, { pin }: JoinString): string {
  const url = headUrl(address);
  const given = pinIn(url);
  if (pin === undefined || given === pin) return url;
  if (given !== undefined) {
    throw new WhiprayError({
      code: "TLS_PIN_MISMATCH",
      message:
        "The address and the join string have different pins: they are of different clusters, or of different times",
      details: { address: given, joinString: pin },
    });
  }
  if (url.startsWith("unix:")) return url;
  if (address.startsWith("ws:")) {
    throw new WhiprayError({
      code: "TLS_REQUIRED",
      message: `The cluster of this join string speaks TLS; give --address HOST:PORT or wss://HOST:PORT, not ${address.slice(0, 200)}`,
    });
  }
  return withPin(withoutPin(url).replace(/^ws:/, "wss:"), pin);
}

/** @throws WhiprayError `INVALID_JOIN_TOKEN`; the message never repeats the text. */
export function parseJoinString(text: string): JoinString {
  const [clusterId, token = "", pin, ...rest] = text.trim().split(":");
  const whole = isId(clusterId, "cluster") && /^[0-9a-f]{64}$/.test(token) && rest.length === 0;
  if (!whole || (pin !== undefined && !PIN_PATTERN.test(pin))) {
    throw new WhiprayError({
      code: "INVALID_JOIN_TOKEN",
      message:
        'A join token looks like "cluster_…:" and 64 hex digits, with TLS ":" and 64 more, as "whipray start --head" prints it',
    });
  }
  return pin === undefined ? { clusterId, token } : { clusterId, token, pin };
}
