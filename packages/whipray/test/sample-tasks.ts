import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { callContext } from "@whipray/worker";
import { currentCluster, currentPlacementGroup, getRuntimeContext, type RuntimeContext } from "../src/index.ts";
import type { Sample } from "./sample-actor.ts";

export function square(n: number): number {
  return n * n;
}

export function fail(message: string): never {
  throw new RangeError(message);
}

/** Throws until the file has more than `failures` marks. */
export function failUntil(file: string, failures: number): number {
  appendFileSync(file, "x");
  const runs = readFileSync(file, "utf8").length;
  if (runs <= failures) throw new Error("not yet");
  return runs;
}

export function sum(values: Float64Array): number {
  return values.reduce((total, value) => total + value, 0);
}

export function ones(length: number): Float64Array {
  return new Float64Array(length).fill(1);
}

export function* countTo(n: number): Generator<number, void, unknown> {
  for (let i = 1; i <= n; i++) yield i;
}

export function place(): { pid: number; flavour: string; method: boolean } {
  return { pid: process.pid, flavour: process.env["FLAVOUR"] ?? "plain", method: callContext() !== undefined };
}

export async function sleep(ms: number): Promise<number> {
  await new Promise((resolve) => setTimeout(resolve, ms));
  return process.pid;
}

/** Waits for its own smaller one. */
export async function depth(n: number): Promise<number> {
  if (n === 0) return 0;
  const smaller = currentCluster()!.task<typeof depth>(new URL(import.meta.url), "depth");
  return 1 + (await smaller(n - 1));
}

/** As `depth`, with refs. */
export async function depthByRef(n: number): Promise<number> {
  if (n === 0) return 0;
  const cluster = currentCluster()!;
  const smaller = cluster.task<typeof depthByRef>(new URL(import.meta.url), "depthByRef");
  return 1 + (await cluster.get(smaller.remote(n - 1)));
}

export async function askActor(start: number): Promise<number> {
  const module = new URL("./sample-actor.ts", import.meta.url);
  const cluster = currentCluster()!;
  const actor = await cluster.actor<Sample>(module, "Sample").create(start);
  const answer = await actor.add(1);
  await cluster.kill(actor);
  return answer;
}

/** Leaves its mark in the file, and dies; lives once the file has `deaths` marks. */
export async function dieUntil(file: string, deaths: number): Promise<string> {
  appendFileSync(file, "x");
  const runs = readFileSync(file, "utf8").length;
  if (runs <= deaths) {
    process.stderr.write("last words of a task\n");
    process.kill(process.pid, "SIGKILL");
    await new Promise(() => {});
  }
  return `run ${runs}`;
}

/** Runs until its caller cancels; the file tells. */
export async function untilAborted(file: string): Promise<void> {
  appendFileSync(file, "started");
  const { signal } = callContext()!;
  await new Promise((resolve) => signal.addEventListener("abort", resolve));
  appendFileSync(file, " aborted");
  throw signal.reason;
}

export function pair(n: number): [number, Float64Array] {
  return [n, new Float64Array(50_000).fill(n)];
}

/** Throws in the middle. */
export function* countAndFail(n: number): Generator<number, void, unknown> {
  yield* countTo(n);
  throw new RangeError("no more");
}

export function failAs(file: string, failures: number, name: string): number {
  appendFileSync(file, "x");
  const runs = readFileSync(file, "utf8").length;
  if (runs > failures) return runs;
  throw name === "RangeError" ? new RangeError("not yet") : new TypeError("not yet");
}

export function context(): RuntimeContext {
  return getRuntimeContext();
}

/** Marks its file, and runs for ever: does not look at its signal. */
export async function deaf(file: string): Promise<void> {
  appendFileSync(file, "started");
  await new Promise((resolve) => setTimeout(resolve, 600_000));
}

/** Marks the file; runs until the other one is there, or it is told of a cancel, of which the file tells. */
export async function untilThere(file: string, go: string): Promise<void> {
  appendFileSync(file, "started");
  const { signal } = callContext()!;
  while (!existsSync(go) && !signal.aborted) await new Promise((resolve) => setTimeout(resolve, 20));
  appendFileSync(file, signal.aborted ? " aborted" : " done");
}

/** Makes a task, and ends with it or when it is cancelled itself. */
export async function parentOf(file: string, go: string): Promise<void> {
  const { signal } = callContext()!;
  const aborted = new Promise<never>((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  const child = currentCluster()!.task<typeof untilThere>(new URL(import.meta.url), "untilThere");
  await Promise.race([aborted, child.options({ numCpus: 0.5 })(file, go)]);
}

/** The groups of this task, of a task that it makes, and of one that it makes outside of groups. */
export async function groups(): Promise<(string | null)[]> {
  const cluster = currentCluster()!;
  const group = cluster.task<typeof groupOf>(new URL(import.meta.url), "groupOf");
  return [await groupOf(), await group(), await group.options({ placement: null, numCpus: 0.1 })()];
}

export async function groupOf(): Promise<string | null> {
  return (await currentPlacementGroup())?.id ?? null;
}
