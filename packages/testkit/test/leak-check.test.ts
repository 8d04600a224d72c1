import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { describeLeaks, diff, newSessions, type ProcessSeen, type Snapshot } from "../src/leak-check.ts";
import {
  parseEnviron,
  parseNamespaceMounts,
  parseStat,
  parseTcpListeners,
  parseUnixListeners,
} from "../src/leak-check-proc.ts";

const EMPTY: Snapshot = { processes: [], sockets: [], files: [], links: [] };

function process(pid: number, fields: Partial<ProcessSeen> = {}): ProcessSeen {
  const marks = { WHIPRAY_CLUSTER: "cluster_a" };
  return {
    pid,
    startTicks: "7",
    parentPid: 1,
    session: pid,
    state: "S",
    cmdline: "x",
    marks,
    holds: [],
    ports: [],
    ...fields,
  };
}

function names(after: Partial<Snapshot>, before: Partial<Snapshot>, scope = {}): string[] {
  return diff({ ...EMPTY, ...before }, { ...EMPTY, ...after }, scope).map((leak) => `${leak.kind} ${leak.name}`);
}

describe("diff", () => {
  test("what was there before is no leak, whatever it is", () => {
    const processes = fc.array(fc.integer({ min: 2, max: 99 }).map((pid) => process(pid)));
    const paths = fc.array(fc.constantFrom("/tmp/whipray-1", "/dev/shm/whipray-2", "@whipray"));
    const snapshots = fc.record({ processes, sockets: paths, files: paths, links: paths });
    const check = (a: Snapshot, b: Snapshot): void => {
      expect(diff(a, a)).toEqual([]);
      expect(diff(a, b).length).toBeLessThanOrEqual(diff(EMPTY, b).length);
    };
    fc.assert(fc.property(snapshots, snapshots, check));
  });

  test("a reused pid is another process", () => {
    expect(names({ processes: [process(9, { startTicks: "8" })] }, { processes: [process(9)] })).toEqual(["process 9"]);
  });

  test("a cluster's check does not blame another cluster, nor a process without marks", () => {
    const others = [
      process(5, { marks: { WHIPRAY_CLUSTER: "cluster_b" } }),
      process(6, { marks: { WHIPRAY_LOG: "1" } }),
    ];
    expect(names({ processes: [...others, process(7)] }, {}, { clusterId: "cluster_a" })).toEqual(["process 7"]);
    expect(names({ processes: others }, {})).toEqual(["process 5", "process 6"]);
  });

  test("a process that wiped its environment is found by its session or by the file that it holds", () => {
    const wiped = { marks: {}, session: 40 };
    const seen = { processes: [process(41, wiped), process(42, { marks: {}, holds: ["/run/x/socket"] })] };
    expect(names(seen, {}, { clusterId: "cluster_a", sessions: [40] })).toEqual(["process 41", "process 42"]);
    expect(names(seen, {}, { clusterId: "cluster_a" })).toEqual(["process 42"]);
  });

  test("a process of another test run does not count, one without a run only on a machine of our own", () => {
    const run = { variable: "WHIPRAY_TEST_RUN", value: "mine" };
    const marks = (value: string): Partial<ProcessSeen> => ({ marks: { WHIPRAY_TEST_RUN: value } });
    const holder = process(8, { marks: {}, holds: ["/tmp/ours/lock"] });
    const others = [process(6, marks("other")), process(9, marks("mine2"))];
    const seen = { processes: [process(5, marks("mine.part")), ...others, process(7), holder] };
    const ours = ["process 5", "process 7", "process 8"];
    expect(names(seen, {}, { run: { ...run, unmarked: true } })).toEqual(ours);
    expect(names(seen, {}, { run: { ...run, unmarked: false } })).toEqual(["process 5", "process 8"]);
  });

  test("an unreaped child is a leak, a zombie of init is not", () => {
    const seen = { processes: [process(5, { state: "Z", parentPid: 4 }), process(6, { state: "Z", parentPid: 1 })] };
    expect(names(seen, {})).toEqual(["process 5"]);
  });

  test("new sockets, files and links are leaks, and the text names everything", () => {
    const leaks = diff(EMPTY, {
      processes: [process(5, { ports: [8265] })],
      sockets: ["@whipray"],
      files: ["/tmp/whipray-1"],
      links: ["wk1"],
    });
    expect(describeLeaks(leaks).split("\n")).toEqual([
      "process 5 (environ WHIPRAY_CLUSTER=cluster_a; parent 1, session 5, state S, listens on 8265): x",
      "socket @whipray (listens)",
      "file /tmp/whipray-1 (exists)",
      "link wk1 (exists)",
    ]);
  });

  test("sessions of our processes are remembered, the caller's own session is not", () => {
    const before = { ...EMPTY, processes: [process(3, { session: 3 })] };
    const now = {
      ...EMPTY,
      processes: [process(5, { session: 3 }), process(6, { session: 6 }), process(7, { session: 6 })],
    };
    expect(newSessions(before, now, { clusterId: "cluster_a" })).toEqual([6]);
  });
});

describe("parsing /proc", () => {
  test("a command with spaces and parentheses does not shift the fields of stat", () => {
    const rest = "S 10 20 30 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 123456 9";
    const expected = { state: "S", parentPid: 10, session: 30, startTicks: "123456" };
    expect(parseStat(`42 (a) b (c)) ${rest}`)).toEqual(expected);
    expect(parseStat("")).toBeUndefined();
  });

  test("environ keeps values with = and newlines", () => {
    expect([...parseEnviron("A=1=2\0B=x\ny\0C=\0odd\0")]).toEqual([
      ["A", "1=2"],
      ["B", "x\ny"],
      ["C", ""],
    ]);
  });

  test("only listening unix sockets with a path count", () => {
    const text = [
      "Num       RefCount Protocol Flags    Type St Inode Path",
      "0000: 00000002 00000000 00010000 0001 01 100 /run/a b/socket",
      "0000: 00000003 00000000 00000000 0001 03 101 /run/connected",
      "0000: 00000002 00000000 00010000 0001 01 102 @whipray",
      "0000: 00000002 00000000 00010000 0001 01 103",
    ].join("\n");
    expect(parseUnixListeners(text)).toEqual(["/run/a b/socket", "@whipray"]);
  });

  test("only mounts that keep a namespace alive count", () => {
    const text = [
      "411 28 0:24 / /run rw,nosuid shared:11 - tmpfs tmpfs rw",
      "512 411 0:4 net:[4026532288] /run/netns/one rw shared:11 - nsfs nsfs rw",
      "",
    ].join("\n");
    expect(parseNamespaceMounts(text)).toEqual([{ namespace: "net:[4026532288]", path: "/run/netns/one" }]);
  });

  test("only listening TCP sockets count", () => {
    const text = [
      "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
      "   0: 0100007F:2049 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 555 1 0",
      "   1: 0100007F:2050 0100007F:0016 01 00000000:00000000 00:00000000 00000000     0        0 556 1 0",
    ].join("\n");
    expect(parseTcpListeners(text)).toEqual([{ port: 8265, inode: "555" }]);
  });
});
