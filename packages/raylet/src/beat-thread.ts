import type { MessagePort } from "node:worker_threads";
import { type Clock, type Logger, type RandomSource, silentLogger, type Timer } from "@whipray/core";
import type { Endpoint } from "@whipray/rpc";
import { BeatLoop } from "./beat-loop.ts";
import type { BeatTerms } from "./beats.ts";
import type { GuardCommand } from "./guard-server.io.ts";
import type { LeaseTurn, OwnRenewals } from "./node-lease.ts";

/** To the beat thread. */
export type BeatCommand =
  | { to: "registered"; terms: BeatTerms }
  /** A line to the guards' thread: when the node is cut off, engines end even while the main loop is blocked. */
  | { to: "guards"; port: MessagePort }
  | { to: "close" };

/** From the beat thread. */
export type BeatNews =
  | { news: "turn"; turn: LeaseTurn }
  | { news: "refused" }
  /** Once a second: what to tell peers that ask. */
  | { news: "renewals"; answer: OwnRenewals }
  | { news: "failed"; message: string };

export interface BeatThreadParts {
  readonly endpoint: Endpoint;
  readonly headUrl: string;
  readonly nodeId: string;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly logger?: Logger;
}

const TELL_MS = 500;

/** What runs in the beat thread: a `BeatLoop` with an endpoint of its own, spoken to over `port`. */
export function runBeatThread(port: MessagePort, parts: BeatThreadParts): void {
  const { clock, endpoint, logger = silentLogger } = parts;
  const loop = new BeatLoop({ ...parts, logger });
  const say = (news: BeatNews): void => port.postMessage(news);
  let guards: MessagePort | undefined;
  let closed = false;
  let telling: Timer | undefined;
  loop.listen({
    onTurn(turn) {
      if (turn.fence === "all") guards?.postMessage({ to: "killAll" } satisfies GuardCommand);
      say({ news: "turn", turn });
    },
    onRefused: () => say({ news: "refused" }),
  });
  function tell(): void {
    if (closed) return;
    say({ news: "renewals", answer: loop.answer() });
    telling = clock.after(TELL_MS, tell, { keepAlive: true });
  }
  port.on("message", (command: BeatCommand) => {
    if (command.to === "registered") {
      loop.registered(command.terms);
      tell();
    } else if (command.to === "guards") {
      guards = command.port;
    } else {
      closed = true;
      telling?.cancel();
      guards?.close();
      void Promise.all([loop.close(), endpoint.close()]).then(() => port.close());
    }
  });
}
