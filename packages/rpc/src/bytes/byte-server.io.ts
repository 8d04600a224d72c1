import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { BYTE_STEP_BYTES, BYTE_STREAM_IDLE_MS, BYTES_HEADER, BYTES_PROTOCOL, type ByteStream } from "./byte-stream.ts";

/** Answers the upgrade, sends all bytes as fast as the other side takes them, and ends the connection. Settles when it is over. */
export function sendBytes(
  socket: Duplex,
  { memory, done }: ByteStream,
  idleMs: number = BYTE_STREAM_IDLE_MS,
): Promise<void> {
  return new Promise((resolve) => {
    let at = 0;
    const fail = (): void => void socket.destroy();
    // In steps, so that an end is noticed and a step counts as a sign of life; each is written in place.
    const next = (error?: Error | null): void => {
      if (error || socket.destroyed) return;
      if (at === memory.length) {
        socket.end();
        return;
      }
      const step = memory.subarray(at, at + BYTE_STEP_BYTES);
      at += step.length;
      socket.write(step, next);
    };
    // Not before: what is being written is not let go.
    socket.once("close", () => {
      done();
      resolve();
    });
    socket.on("error", fail);
    // Who asked says nothing more: his end ends it, and so does a reader that stands still.
    socket.on("end", fail);
    socket.resume();
    (socket as Socket).setTimeout(idleMs, fail);
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${BYTES_PROTOCOL}\r\n${BYTES_HEADER}: ${memory.length}\r\n\r\n`,
    );
    next();
  });
}
