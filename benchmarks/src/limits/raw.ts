import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { helper, median, sequential } from "../measure.ts";
import { onFrames } from "./frames.ts";

/** Bytes of a ping and of a batched frame: about what a small call has. */
const FRAME_BYTES = 48;
const BATCH = 1_000;

export interface RawLimits {
  /** Round trips a second over a unix socket to another Node process. */
  ping: number;
  /** Frames a second, 1 000 to a write; both sides take each out of the stream and handle it, the other answers each. */
  batched: number;
  /** Round trips a second through a Node process to a Python process. */
  twoHop: number;
}

/** What the machine can do at best, measured with bare sockets in this very run. */
export async function rawLimits(): Promise<RawLimits> {
  const folder = mkdtempSync(join(tmpdir(), "whipray-bench-"));
  const path = (name: string): string => join(folder, name);
  const python = spawn("python3", [fileURLToPath(new URL("./echo.py", import.meta.url)), path("py")], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await new Promise((resolve) => python.stdout.once("data", resolve));
  const echo = await helper(new URL("./echo.ts", import.meta.url), [
    path("echo"),
    path("relay"),
    path("py"),
    path("frames"),
  ]);
  try {
    const near = await open(path("echo"));
    const far = await open(path("relay"));
    const ping = await sequential(() => roundTrip(near, FRAME_BYTES));
    const twoHop = await sequential(() => roundTrip(far, FRAME_BYTES));
    const frames = await open(path("frames"));
    const rates: number[] = [];
    for (let round = 0; round < 6; round++) {
      const startedAt = performance.now();
      for (let batch = 0; batch < 20; batch++) await frameBatch(frames);
      rates.push((20 * BATCH * 1_000) / (performance.now() - startedAt));
    }
    frames.destroy();
    near.destroy();
    far.destroy();
    return { ping, twoHop, batched: median(rates.slice(1)) };
  } finally {
    echo.stop();
    python.kill("SIGKILL");
    rmSync(folder, { recursive: true });
  }
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

/** Sends a batch of frames in one write; settles when the answer to each of them has been taken out of the stream. */
function frameBatch(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const waiting = new Map<number, () => void>();
    const pieces: Buffer[] = [];
    for (let id = 0; id < BATCH; id++) {
      waiting.set(id, () => waiting.delete(id));
      const frame = Buffer.alloc(FRAME_BYTES);
      frame.writeUInt32LE(id, 4);
      pieces.push(frame);
    }
    const stop = onFrames(socket, FRAME_BYTES, (frame) => {
      waiting.get(frame.readUInt32LE(4))?.();
      if (waiting.size > 0) return;
      stop();
      resolve();
    });
    socket.write(Buffer.concat(pieces));
  });
}
