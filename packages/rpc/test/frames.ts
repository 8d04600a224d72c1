import type { WhiprayError } from "@whipray/core";
import { expect } from "vitest";
import { type ChannelHandlers, encodeFrame, KIND } from "../src/index.ts";

/** A ONEWAY frame of route 1 whose body tells frames apart. */
export function numbered(sequence: number, bodyBytes = 4): Uint8Array {
  const body = new Uint8Array(bodyBytes).fill(sequence & 0xff);
  return encodeFrame(1, KIND.ONEWAY, 0, sequence, undefined, body);
}

/** Collects what a channel says. */
export class Recorder implements ChannelHandlers {
  readonly frames: Uint8Array[] = [];
  readonly ends: (WhiprayError | undefined)[] = [];
  drains = 0;
  onFrame(raw: Uint8Array): void {
    this.frames.push(raw);
  }
  onDrain(): void {
    this.drains++;
  }
  onClose(error?: WhiprayError): void {
    this.ends.push(error);
  }
}

/** Waits for a condition, with a deadline that fails the test. */
export async function until(condition: () => boolean, what = "the condition"): Promise<void> {
  await expect.poll(condition, { timeout: 10_000, interval: 5, message: what }).toBe(true);
}

/** The code of the WhiprayError that `run` throws. */
export function codeOf(run: () => unknown): string | undefined {
  try {
    run();
  } catch (error) {
    return (error as WhiprayError).code;
  }
  return undefined;
}
