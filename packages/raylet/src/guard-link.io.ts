import { MessageChannel, type MessagePort, Worker } from "node:worker_threads";
import { type Clock, sibling, WhiprayError } from "@whipray/core";
import { type GuardCommand, type GuardNews, GuardServer } from "./guard-server.io.ts";

/** How the raylet speaks with the server of its guards, wherever that runs. */
export interface GuardLink {
  /** Starts the server if it does not run, and resolves when guards can report. @throws WhiprayError `GUARD_SERVER_FAILED` */
  ready(): Promise<void>;
  send(command: GuardCommand): void;
  onNews(listener: (news: GuardNews) => void): void;
  close(): Promise<void>;
}

/** A link to a server in another thread, to which a third thread can have a line of its own. */
export interface ThreadedGuardLink extends GuardLink {
  /** A port that takes `GuardCommand`s. */
  attach(): MessagePort;
}

/** The server in a thread of its own, which starts with the first engine: what daemons use. */
export function threadedGuardLink(path: string): ThreadedGuardLink {
  const listeners: ((news: GuardNews) => void)[] = [];
  const early: MessagePort[] = [];
  let thread: Worker | undefined;
  let ready: Promise<void> | undefined;
  let ended: Promise<void> | undefined;
  function start(): Promise<void> {
    const worker = new Worker(sibling("guard-thread", import.meta.url), {
      workerData: { path },
      execArgv: [],
      env: {},
      stdin: false,
    });
    thread = worker;
    ended = new Promise((resolve) => worker.once("exit", () => resolve()));
    for (const port of early.splice(0)) worker.postMessage({ attach: port }, [port]);
    return new Promise<void>((resolve, reject) => {
      worker.on("message", (news: GuardNews) => {
        if (news.news === "listening") resolve();
        else if (news.news === "failed") reject(failed(news.message));
        for (const listener of listeners) listener(news);
      });
      worker.on("error", (error) => reject(failed(String(error))));
    });
  }
  return {
    ready() {
      ready ??= start();
      return ready;
    },
    // Without a server there is no guard that a command could be about.
    send: (command) => thread?.postMessage(command),
    onNews: (listener) => listeners.push(listener),
    attach() {
      const { port1, port2 } = new MessageChannel();
      if (thread) thread.postMessage({ attach: port1 }, [port1]);
      else early.push(port1);
      return port2;
    },
    async close() {
      thread?.postMessage({ to: "close" } satisfies GuardCommand);
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
    async ready() {},
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
