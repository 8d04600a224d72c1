import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { EVIDENCE_MS, FENCE_MS, HEAD_OUTAGE_MS, NodeLease, type PeerAnswer, SUSPECT_MS } from "../src/node-lease.ts";

const LIVE: PeerAnswer = { renewedAgoMs: 300, steadyMs: 60_000 };
const LOST: PeerAnswer = { renewedAgoMs: 6_000, steadyMs: 60_000 };

function at(ageMs: number, answers?: PeerAnswer[]) {
  const lease = new NodeLease(0);
  if (answers) lease.peersAnswered(answers, ageMs - 100);
  return lease.turn(ageMs);
}

describe("the node's lease (mechanism 5)", () => {
  test("renewed: nothing to ask, nothing to end", () => {
    expect(at(SUSPECT_MS - 1)).toEqual({ state: "renewed", askPeers: false });
  });

  test("3 s without renewal: doubt, and ask", () => {
    expect(at(SUSPECT_MS)).toEqual({ state: "suspect", askPeers: true });
  });

  test("F12 cut off: a peer is renewed, we are not: everything ends at 6.75 s, not before", () => {
    expect(at(FENCE_MS - 1, [LIVE])).toEqual({ state: "cut-off", askPeers: true });
    expect(at(FENCE_MS, [LOST, LIVE])).toEqual({ state: "cut-off", askPeers: true, fence: "all" });
  });

  test("F6 head down: nobody is renewed: everything stays, for ten minutes", () => {
    expect(at(FENCE_MS + 4_000, [LOST, LOST])).toEqual({ state: "head-down", askPeers: true });
    expect(at(HEAD_OUTAGE_MS - 1, [LOST])).toMatchObject({ state: "head-down" });
    expect(at(HEAD_OUTAGE_MS, [LOST])).toEqual({ state: "outage-over", askPeers: false, fence: "all" });
  });

  test("a peer that came back a moment ago proves a restarted head, no isolation", () => {
    expect(at(FENCE_MS, [{ renewedAgoMs: 100, steadyMs: 400 }])).toEqual({ state: "head-down", askPeers: true });
  });

  test("alone: only what its owner declared ends", () => {
    expect(at(FENCE_MS - 1, [])).toEqual({ state: "alone", askPeers: true });
    expect(at(FENCE_MS, [])).toEqual({ state: "alone", askPeers: true, fence: "declared" });
  });

  test("each fence is said once; a worse verdict is said again", () => {
    const lease = new NodeLease(0);
    lease.peersAnswered([], FENCE_MS);
    expect(lease.turn(FENCE_MS).fence).toBe("declared");
    expect(lease.turn(FENCE_MS + 250).fence).toBeUndefined();
    lease.peersAnswered([LIVE], FENCE_MS + 500);
    expect(lease.turn(FENCE_MS + 500).fence).toBe("all");
    expect(lease.turn(FENCE_MS + 750).fence).toBeUndefined();
  });

  test("what peers said grows old: no verdict on old evidence", () => {
    const lease = new NodeLease(0);
    lease.peersAnswered([LIVE], SUSPECT_MS);
    expect(lease.turn(SUSPECT_MS + EVIDENCE_MS + 1)).toEqual({ state: "suspect", askPeers: true });
  });

  test("a renewal counts from when its beat was sent, and an older one changes nothing", () => {
    const lease = new NodeLease(0);
    lease.renewed(2_000);
    lease.renewed(1_000);
    expect(lease.turn(2_000 + SUSPECT_MS - 1).state).toBe("renewed");
    expect(lease.turn(2_000 + SUSPECT_MS).state).toBe("suspect");
  });

  test("F2 after a long pause it asks before it ends anything", () => {
    const lease = new NodeLease(0);
    expect(lease.turn(60_000)).toEqual({ state: "suspect", askPeers: true });
  });

  test("what it tells peers: since when, and for how long without a gap", () => {
    const lease = new NodeLease(0);
    lease.renewed(1_000);
    lease.renewed(2_000);
    expect(lease.answer(2_500)).toEqual({ renewedAgoMs: 500, steadyMs: 2_500 });
    lease.renewed(9_000);
    expect(lease.answer(9_500)).toEqual({ renewedAgoMs: 500, steadyMs: 500 });
  });

  test("no schedule of renewals every 2 s ever ends anything (P3)", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 100, max: 2_000 }), { maxLength: 50 }), (gaps) => {
        const lease = new NodeLease(0);
        let nowMs = 0;
        for (const gap of gaps) {
          nowMs += gap;
          lease.peersAnswered([LIVE], nowMs);
          expect(lease.turn(nowMs).fence).toBeUndefined();
          lease.renewed(nowMs);
        }
      }),
    );
  });
});
