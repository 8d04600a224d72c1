import { WhiprayError } from "@whipray/core";
import { pinIn } from "@whipray/rpc";

/** `host:port` (with `#pin=…` for TLS), `[v6]:port`, `ws://…`, `wss://…` or `unix:/…` as an URL. @throws WhiprayError `INVALID_ADDRESS` (B36). */
export function headUrl(address: string): string {
  if (address.startsWith("unix:/")) return address;
  if (/^wss?:\/\//.test(address)) return checked(address);
  const match = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):(\d{1,5})(#.*)?$/.exec(address);
  const port = Number(match?.[2]);
  if (!match || port < 1 || port > 65_535) {
    throw new WhiprayError({
      code: "INVALID_ADDRESS",
      message: `An address looks like host:8265, [::1]:8265 or wss://host:8265; got ${JSON.stringify(address.slice(0, 200))}`,
    });
  }
  const [, host, , fragment] = match;
  if (fragment === undefined) return `ws://${host}:${port}`;
  return checked(`wss://${host}:${port}${fragment}`);
}

function checked(url: string): string {
  pinIn(url);
  return url;
}
