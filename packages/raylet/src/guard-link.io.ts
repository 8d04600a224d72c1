import { MessageChannel, type MessagePort, Worker } from "node:worker_threads";
import { type Clock, WhiprayError } from "@whipray/core";
import { type GuardCommand, type GuardNews, GuardServer } from "./guard-server.io.ts";

/** How the raylet speaks with the server of its guards, wherever that runs. */
export interface GuardLink {
  send(command: GuardCommand): void;
  onNews(listener: (news: GuardNews) => void): void;
  close(): Promise<void>;
}

/** A link to a server in another thread, to which a third thread can have a line of its own. */
export interface ThreadedGuardLink extends GuardLink {
  /** A port that takes `GuardCommand`s. */
  attach(): MessagePort;
}

/** The server in a thread of its own: what daemons use. @throws WhiprayError `GUARD_SERVER_FAILED` */
export async function threadedGuardLink(path: string): Promise<ThreadedGuardLink> {
  const listeners: ((news: GuardNews) => void)[] = [];
  const file = import.meta.url.endsWith(".ts") ? "./guard-thread.ts" : "./guard-thread.js";
  const thread = new Worker(new URL(file, import.meta.url), { workerData: { path }, env: {}, stdin: false });
  const ended = new Promise<void>((resolve) => thread.once("exit", () => resolve()));
  await new Promise<void>((resolve, reject) => {
    thread.once("message", (news: GuardNews) => {
      if (news.news === "failed") reject(failed(news.message));
      else resolve();
    });
    thread.once("error", (error) => reject(failed(String(error))));
  });
  thread.on("message", (news: GuardNews) => {
    for (const listener of listeners) listener(news);
  });
  return {
    send: (command) => thread.postMessage(command),
    onNews: (listener) => listeners.push(listener),
    attach() {
      const { port1, port2 } = new MessageChannel();
      thread.postMessage({ attach: port1 }, [port1]);
      return port2;
    },
    async close() {
      thread.postMessage({ to: "close" } satisfies GuardCommand);
      await ended;
    },
  };
}

/** The server in this thread: for tests. @throws WhiprayError `GUARD_SERVER_FAILED` */
export async function localGuardLink(path: string, clock: Clock): Promise<GuardLink> {
  const listeners: ((news: GuardNews) => void)[] = [];
  let first: (news: GuardNews) => void = () => {};
  const ready = new Promise<GuardNews>((resolve) => {
    first = resolve;
  });
  const server = new GuardServer(path, clock, (news) => {
    first(news);
    for (const listener of listeners) listener(news);
  });
  const news = await ready;
  if (news.news === "failed") throw failed(news.message);
  return {
    send: (command) => server.command(command),
    onNews: (listener) => listeners.push(listener),
    close() {
      return new Promise((resolve) => {
        listeners.push((last) => last.news === "closed" && resolve());
        server.command({ to: "close" });
      });
    },
  };
}

function failed(message: string): WhiprayError {
  return new WhiprayError({ code: "GUARD_SERVER_FAILED", message: `guards cannot report: ${message}` });
}
