import { type MessagePort, Worker } from "node:worker_threads";
import type { Clock, Logger } from "@whipray/core";
import type { BeatCommand, BeatNews } from "./beat-thread.ts";
import type { BeatListener, Beats } from "./beats.ts";

/** A connection that does not close in time must not hold up the end of a raylet. */
const CLOSE_LIMIT_MS = 2_000;

/**
 * Beats from a thread of their own (design.md, mechanism 6). `file` is the thread's main file: it makes an endpoint that says
 * the raylet's token, and calls `runBeatThread(parentPort, …)`; `data` is its workerData. `guards` is a line to the guards' thread.
 */
export function threadedBeats(file: URL, data: unknown, clock: Clock, logger: Logger, guards?: MessagePort): Beats {
  const thread = new Worker(file, { workerData: data });
  let listener: BeatListener | undefined;
  let known = { renewedAgoMs: Number.MAX_SAFE_INTEGER, steadyMs: 0, atMs: 0 };
  const ended = new Promise<void>((resolve) => thread.once("exit", () => resolve()));
  const send = (command: BeatCommand, transfer: MessagePort[] = []): void => thread.postMessage(command, transfer);
  if (guards) send({ to: "guards", port: guards }, [guards]);
  thread.on("error", (error) => logger.error("the beat thread failed", { error: String(error) }));
  thread.on("message", (news: BeatNews) => {
    if (news.news === "turn") listener?.onTurn(news.turn);
    else if (news.news === "refused") listener?.onRefused();
    else if (news.news === "renewals") known = { ...news.answer, atMs: clock.now() };
    else logger.error("the beat thread failed", { error: news.message });
  });
  return {
    listen(one) {
      listener = one;
    },
    registered: (terms) => send({ to: "registered", terms }),
    answer() {
      // What the thread said last, and the time since: never fresher than it was.
      const sinceMs = clock.now() - known.atMs;
      return {
        renewedAgoMs: Math.min(Number.MAX_SAFE_INTEGER, known.renewedAgoMs + sinceMs),
        steadyMs: known.steadyMs,
      };
    },
    async close() {
      send({ to: "close" });
      const timer = clock.after(CLOSE_LIMIT_MS, () => void thread.terminate());
      await ended;
      timer.cancel();
    },
  };
}
