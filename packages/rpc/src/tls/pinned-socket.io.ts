import type { X509Certificate } from "node:crypto";
import { connect, type TLSSocket } from "node:tls";
import { systemClock } from "@whipray/core";
import { checkPin } from "./pin.ts";

/** What both sides speak: everything that runs Whipray has it. */
export const TLS_VERSION = "TLSv1.3";
/** Certificates of a chain that are looked at; ours have two. */
const CHAIN_LIMIT = 4;

/**
 * Connects and checks the server's chain against the pin. `ready` gets the socket when the pin is proved; until then not a
 * byte but the TLS handshake has left.
 * @param failed Gets the error, and the socket is destroyed: `TLS_PIN_MISMATCH` and the others of `checkPin`, or what connecting threw.
 */
export function connectPinned(
  address: URL,
  pin: string,
  ready: (socket: TLSSocket) => void,
  failed: (error: Error) => void,
): TLSSocket {
  const socket = connect({
    host: address.hostname.replace(/^\[|\]$/g, ""),
    port: Number(address.port || 443),
    minVersion: TLS_VERSION,
    // The own check below takes its place: an own authority is known by its pin, and a tunnel's end has another name.
    rejectUnauthorized: false,
  });
  const onError = (error: Error): void => {
    socket.destroy();
    failed(error);
  };
  // Stays: whoever takes the socket on may not listen yet when it breaks.
  socket.once("error", onError);
  socket.once("secureConnect", () => {
    try {
      checkPin(`${address.protocol}//${address.host}`, pin, chainOf(socket), systemClock.wallMs());
    } catch (error) {
      onError(error as Error);
      return;
    }
    ready(socket);
  });
  return socket;
}

function chainOf(socket: TLSSocket): X509Certificate[] {
  const chain: X509Certificate[] = [];
  let next = socket.getPeerX509Certificate();
  while (next && chain.length < CHAIN_LIMIT) {
    chain.push(next);
    next = next.issuerCertificate;
  }
  return chain;
}
