import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { helper } from "../measure.ts";
import { onFrames } from "./frames.ts";

/** Bytes of a ping and of a batched frame: about what a small call has. */
const FRAME_BYTES = 48;
/** Frames in one write. */
export const BATCH = 1_000;

/** What the machine can do at best, with bare sockets, one step at a time: to be measured in turns with what stands beside it. */
export interface RawLimits {
  /** A round trip over a unix socket to another Node process. */
  ping(): Promise<void>;
  /** `BATCH` frames in one write; both sides take each out of the stream and handle it, the other answers each. */
  batch(): Promise<void>;
  /** A round trip through a Node process to a Python process. */
  twoHop(): Promise<void>;
  close(): void;
}

export async function openRawLimits(): Promise<RawLimits> {
  const folder = mkdtempSync(join(tmpdir(), "whipray-bench-"));
  const path = (name: string): string => join(folder, name);
  const python = spawn("python3", [fileURLToPath(new URL("./echo.py", import.meta.url)), path("py")], {
    stdio: ["ignore", "pipe", "inherit"],
    detached: true,
  });
  await new Promise((resolve) => python.stdout.once("data", resolve));
  const paths = ["echo", "relay", "py", "frames"].map(path);
  const echo = await helper(new URL("./echo.ts", import.meta.url), paths);
  const [near, far, frames] = await Promise.all([open(path("echo")), open(path("relay")), open(path("frames"))]);
  return {
    ping: () => roundTrip(near, FRAME_BYTES),
    twoHop: () => roundTrip(far, FRAME_BYTES),
    batch: () => frameBatch(frames),
    close() {
      for (const socket of [near, far, frames]) socket.destroy();
      echo.stop();
      python.kill("SIGKILL");
      rmSync(folder, { recursive: true });
    },
  };
}

async function open(path: string): Promise<Socket> {
  const socket = connect(path);
  await new Promise((resolve) => socket.once("connect", resolve));
  return socket;
}

function roundTrip(socket: Socket, bytes: number): Promise<void> {
  return new Promise((resolve) => {
    let missing = bytes;
    const onData = (data: Buffer): void => {
      missing -= data.length;
      if (missing > 0) return;
      socket.off("data", onData);
      resolve();
    };
    socket.on("data", onData);
    socket.write(Buffer.alloc(bytes));
  });
}

/**
 * Sends a batch of frames in one write; each has a promise, as any call has, that settles when its answer has been taken out of the
 * stream.
 */
async function frameBatch(socket: Socket): Promise<void> {
  const waiting = new Map<number, () => void>();
  const pieces: Buffer[] = [];
  const answers: Promise<void>[] = [];
  for (let id = 0; id < BATCH; id++) {
    answers.push(new Promise((resolve) => waiting.set(id, resolve)));
    const frame = Buffer.alloc(FRAME_BYTES);
    frame.writeUInt32LE(id, 4);
    pieces.push(frame);
  }
  const stop = onFrames(socket, FRAME_BYTES, (frame) => {
    const id = frame.readUInt32LE(4);
    waiting.get(id)?.();
    waiting.delete(id);
  });
  socket.write(Buffer.concat(pieces));
  await Promise.all(answers);
  stop();
}
