import { SimulatedClock, silentLogger, WhiprayError } from "@whipray/core";
import type { Peer } from "@whipray/rpc";
import { ObjectPeers } from "../src/object-peers.ts";

export const OBJECT_OWNER = "node_a/worker_b inc_1";

interface FakeSession {
  readonly peer: Peer;
  opens(incarnation: string): void;
  close(code: string): void;
}

function fakeSession(incarnation: string): FakeSession {
  const listeners: ((error: WhiprayError) => void)[] = [];
  const peer = {
    address: "node_a/worker_b",
    incarnation,
    onClose: (listener: (error: WhiprayError) => void) => listeners.push(listener),
    onReset: () => {},
  };
  return {
    peer: peer as unknown as Peer,
    opens: (now) => {
      peer.incarnation = now;
    },
    close: (code) => {
      for (const listener of listeners) listener(new WhiprayError({ code, message: "the end" }));
    },
  };
}

/** Sessions that tests open and close, and who is given up. */
export function ownerWorld() {
  const clock = new SimulatedClock();
  const ended: string[] = [];
  const connected: FakeSession[] = [];
  const head = { away: false };
  const peers = new ObjectPeers({
    endpoint: {
      connect: () => {
        connected.push(fakeSession(""));
        return connected.at(-1)!.peer;
      },
    },
    store: { holderGone: () => {}, ownerGone: (owner) => ended.push(owner) },
    clock,
    logger: silentLogger,
    urlOf: () => "unix:/head.sock",
    headIsAway: () => head.away,
  });
  return { clock, ended, connected, head, peers, session: fakeSession };
}
