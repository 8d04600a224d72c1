import type { Server, Socket } from "node:net";
import type { Clock } from "@whipray/core";

/** First byte of a TLS connection: a handshake record. */
const HANDSHAKE = 0x16;

/**
 * Looks at the first byte of each connection of a TLS server: TLS goes on, anything else is handed to `refuse`, so that it gets an
 * answer it can read. One that says nothing within `timeoutMs` is closed. Returns what closes those that have said nothing yet.
 */
export function refusePlainText(
  server: Server,
  timeoutMs: number,
  clock: Clock,
  refuse: (socket: Socket) => void,
): () => void {
  const [secure] = server.listeners("connection") as ((socket: Socket) => void)[];
  const silent = new Set<Socket>();
  server.removeAllListeners("connection");
  server.on("connection", (socket: Socket) => {
    const onError = (): void => void socket.destroy();
    const timer = clock.after(timeoutMs, onError);
    silent.add(socket);
    socket.on("error", onError);
    socket.once("close", () => {
      timer.cancel();
      silent.delete(socket);
    });
    socket.once("data", (first: Buffer) => {
      timer.cancel();
      silent.delete(socket);
      if (first[0] !== HANDSHAKE) {
        refuse(socket);
        return;
      }
      socket.pause();
      socket.unshift(first);
      socket.removeListener("error", onError);
      secure!.call(server, socket);
    });
  });
  return () => {
    for (const socket of silent) socket.destroy();
  };
}
