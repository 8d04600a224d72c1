import { type MessagePort, Worker } from "node:worker_threads";
import type { Clock, Logger, Timer } from "@whipray/core";
import type { BeatCommand, BeatNews } from "./beat-thread.ts";
import type { BeatListener, Beats, BeatTerms } from "./beats.ts";

/**
 * The first beat is due a second after the registration. Its thread starts later than that: right after the registration the cluster's first work
 * needs the processors.
 */
const THREAD_START_MS = 300;
/** A connection that does not close in time must not hold up the end of a raylet. */
const CLOSE_LIMIT_MS = 2_000;

/**
 * Beats from a thread of their own (design.md, mechanism 6). `file` is the thread's main file: it makes an endpoint that says
 * the raylet's token, and calls `runBeatThread(parentPort, …)`; `data` is its workerData. `guards` is a line to the guards' thread.
 */
export function threadedBeats(file: URL, data: unknown, clock: Clock, logger: Logger, guards?: MessagePort): Beats {
  let thread: Worker | undefined;
  let ended: Promise<void> | undefined;
  let starting: Timer | undefined;
  let terms: BeatTerms | undefined;
  let listener: BeatListener | undefined;
  let known = { renewedAgoMs: Number.MAX_SAFE_INTEGER, steadyMs: 0, atMs: 0 };
  const send = (command: BeatCommand, transfer: MessagePort[] = []): void => thread?.postMessage(command, transfer);
  function hear(news: BeatNews): void {
    if (news.news === "turn") listener?.onTurn(news.turn);
    else if (news.news === "refused") listener?.onRefused();
    else if (news.news === "renewals") known = { ...news.answer, atMs: clock.now() };
    else logger.error("the beat thread failed", { error: news.message });
  }
  function start(): void {
    const worker = new Worker(file, { workerData: data, execArgv: [] });
    thread = worker;
    ended = new Promise((resolve) => worker.once("exit", () => resolve()));
    worker.on("error", (error) => logger.error("the beat thread failed", { error: String(error) }));
    worker.on("message", hear);
    if (guards) send({ to: "guards", port: guards }, [guards]);
    if (terms) send({ to: "registered", terms });
  }
  return {
    listen(one) {
      listener = one;
    },
    registered(latest) {
      terms = latest;
      if (thread) send({ to: "registered", terms });
      else starting ??= clock.after(THREAD_START_MS, start, { keepAlive: true });
    },
    answer() {
      // What the thread said last, and the time since: never fresher than it was.
      const sinceMs = clock.now() - known.atMs;
      return {
        renewedAgoMs: Math.min(Number.MAX_SAFE_INTEGER, known.renewedAgoMs + sinceMs),
        steadyMs: known.steadyMs + sinceMs,
      };
    },
    async close() {
      starting?.cancel();
      if (!thread) return;
      send({ to: "close" });
      const timer = clock.after(CLOSE_LIMIT_MS, () => void thread?.terminate());
      await ended;
      timer.cancel();
    },
  };
}
