import type { MessagePort } from "node:worker_threads";
import { type Clock, type Logger, type RandomSource, silentLogger } from "@whipray/core";
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
  /** After each renewal: what to tell peers that ask. */
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

/** What runs in the beat thread: a `BeatLoop` with an endpoint of its own, spoken to over `port`. */
export function runBeatThread(port: MessagePort, parts: BeatThreadParts): void {
  const { endpoint, logger = silentLogger } = parts;
  const loop = new BeatLoop({ ...parts, logger });
  const say = (news: BeatNews): void => port.postMessage(news);
  let guards: MessagePort | undefined;
  const tell = (): void => say({ news: "renewals", answer: loop.answer() });
  loop.listen({
    onTurn(turn) {
      if (turn.fence === "all") guards?.postMessage({ to: "killAll" } satisfies GuardCommand);
      say({ news: "turn", turn });
    },
    onRenewed: tell,
    onRefused: () => say({ news: "refused" }),
  });
  port.on("message", (command: BeatCommand) => {
    if (command.to === "registered") {
      loop.registered(command.terms);
      tell();
    } else if (command.to === "guards") {
      guards = command.port;
    } else {
      guards?.close();
      void Promise.all([loop.close(), endpoint.close()]).then(() => port.close());
    }
  });
}
