import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { WhiprayError } from "@whipray/core";
import { headUrl } from "../head-url.ts";
import { isLoopback } from "./safe-bind.ts";

/** Where `whipray start --head` puts the head's address, with its pin where it speaks TLS. */
export function addressPath(env: NodeJS.ProcessEnv = process.env): string {
  const home = env["HOME"] ?? homedir();
  return join(env["XDG_CONFIG_HOME"] ?? join(home, ".config"), "whipray", "address");
}

/**
 * The URL that a driver dials for `address`. `127.0.0.1:8265` becomes `wss://127.0.0.1:8265#pin=…` where the address file knows that
 * head so. Beyond this machine the user says how the token travels: by `wss:` or a pin, or in plain text by `ws:`.
 * @throws WhiprayError `INVALID_ADDRESS`; `INSECURE_ADDRESS` for a bare `host:port` beyond this machine.
 */
export function driverUrl(address: string, path: string = addressPath()): string {
  const url = headUrl(address);
  if (url === address || !url.startsWith("ws:")) return url;
  const { hostname, host, port } = new URL(url);
  const known = knownUrl(path);
  const same = known && (hostname === known.hostname || (isLoopback(hostname) && isLoopback(known.hostname)));
  if (same && port === known.port) return `${known.protocol}//${known.host}${known.hash}`;
  if (isLoopback(hostname)) return url;
  throw new WhiprayError({
    code: "INSECURE_ADDRESS",
    message:
      `${host} is another machine, and the token must not cross the network in plain text unasked. Give the address with #pin= that ` +
      `"whipray start --head --tls" prints; or, if the network is trusted, ws://${host}`,
    details: { address },
  });
}

/** Undefined when no head was started here. */
function knownUrl(path: string): URL | undefined {
  try {
    return new URL(readFileSync(path, "utf8").trim());
  } catch {
    return undefined;
  }
}
