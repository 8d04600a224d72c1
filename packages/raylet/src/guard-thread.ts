import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { systemClock } from "@whipray/core";
import { type GuardCommand, GuardServer } from "./guard-server.io.ts";

/**
 * Main file of the guards' thread. `workerData.path` is the socket. Messages in are `GuardCommand`, messages out `GuardNews`.
 * A beat of ours costs microseconds, and nothing else runs here.
 */
const port = parentPort!;
const { path } = workerData as { path: string };
const server = new GuardServer(path, keptAlive(), (news) => port.postMessage(news));
const attached: MessagePort[] = [];

function obey(command: GuardCommand): void {
  server.command(command);
  if (command.to !== "close") return;
  for (const other of [port, ...attached]) other.close();
}

port.on("message", (message: GuardCommand | { attach: MessagePort }) => {
  if (!("attach" in message)) return obey(message);
  // Another thread that may give commands: the beats', which fences while the main loop is blocked.
  attached.push(message.attach);
  message.attach.on("message", obey);
});

function keptAlive(): typeof systemClock {
  return { ...systemClock, after: (ms, callback) => systemClock.after(ms, callback, { keepAlive: true }) };
}
