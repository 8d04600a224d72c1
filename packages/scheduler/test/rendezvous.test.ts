import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { delay, RayTaskError, SimulatedClock, silentLogger, WorkerCrashedError } from "@whipray/core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { saysPortInUse, withFreshPort } from "../src/fresh-port.ts";
import { EngineCallError, LocalScheduler, MASTER_PORT_TRIES, type Meeting, PortAllocationError } from "../src/index.ts";
import { meet, VERDICT_MS } from "../src/rendezvous.ts";

const PYTHONPATH = fileURLToPath(new URL("./engines/", import.meta.url));
const inUse = (port: number) => new Error(`listen EADDRINUSE: address already in use 10.0.0.1:${port}`);

describe("the ranks of a role meet at a leased port", () => {
  let scheduler: LocalScheduler;
  const strangers: ChildProcess[] = [];

  beforeAll(async () => {
    scheduler = new LocalScheduler({ numCpus: 2, startupTimeoutMs: 60_000 });
    const task = { cpu: 1, mem: 0.1, envVars: { PYTHONPATH } };
    const ids = await scheduler.createWorkers({ role: "actor", replicas: 2, tasks: [task] });
    await Promise.all(ids.map((id) => scheduler.createEngine(id, "toy_engines.Gang")));
  }, 90_000);
  afterAll(async () => {
    for (const stranger of strangers) {
      const ended = once(stranger, "exit");
      stranger.kill("SIGKILL");
      await ended;
    }
    await scheduler[Symbol.asyncDispose]();
  }, 60_000);

  /** Takes a port as any other program of the machine may. It lets everybody in and says nothing. */
  async function takePort(ip: string, port: number): Promise<void> {
    const program = `require("node:net").createServer(() => {}).listen(${port}, "${ip}", () => console.log("listens"))`;
    const stranger = spawn(process.execPath, ["-e", program], { stdio: ["ignore", "pipe", "inherit"] });
    strangers.push(stranger);
    await once(stranger.stdout, "data");
  }

  const join = (workerId: string, { rank, worldSize, ip, port, signal }: Meeting): Promise<string> =>
    scheduler.callEngine(workerId, "meet", {
      args: [rank, worldSize, ip, port],
      signal,
      rpcMeta: { interrupt: true },
    });

  test("F37: a process takes the port between lease and use: all ranks are told another, in the same attempt", async () => {
    const told: [number, number, number][] = [];
    let taken: Promise<void> | undefined;
    const words = await scheduler.rendezvous("actor", async (workerId, meeting) => {
      told.push([meeting.attempt, meeting.rank, meeting.port]);
      if (meeting.attempt === 1) {
        taken ??= takePort(meeting.ip, meeting.port);
        await taken;
      }
      return join(workerId, meeting);
    });
    expect(words).toEqual(["go", "go"]);
    expect(told.map(([attempt, rank]) => [attempt, rank])).toEqual([
      [1, 0],
      [1, 1],
      [2, 0],
      [2, 1],
    ]);
    expect(told[0]![2]).toBe(told[1]![2]);
    expect(told[2]![2]).toBe(told[3]![2]);
    expect(told[2]![2]).not.toBe(told[0]![2]);
  }, 60_000);

  test("F37: a process that takes every port ends it, with the ports and the limit", async () => {
    const ports: number[] = [];
    const taken = new Map<number, Promise<void>>();
    const error = await scheduler
      .rendezvous("actor", async (workerId, meeting) => {
        const { ip, port } = meeting;
        if (!taken.has(port)) {
          ports.push(port);
          taken.set(port, takePort(ip, port));
        }
        await taken.get(port);
        return join(workerId, meeting);
      })
      .catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(PortAllocationError);
    expect(ports).toHaveLength(MASTER_PORT_TRIES);
    expect((error as Error).message).toContain(ports.join(", "));
  }, 60_000);
});

describe("who says what when ranks meet", () => {
  const address = { ip: "10.0.0.1", port: 20_000 };

  test("a rank that fails over the stranger before the port's own rank speaks does not hide what it was", async () => {
    const clock = new SimulatedClock();
    const signals: AbortSignal[] = [];
    const meeting = meet(
      ["r/0", "r/1", "r/2"],
      async (_, { rank, signal }) => {
        signals.push(signal);
        if (rank === 1) throw new Error("the peer speaks no gloo");
        await delay(clock, rank === 0 ? VERDICT_MS / 2 : VERDICT_MS * 9);
        throw rank === 0 ? inUse(20_000) : new Error("late");
      },
      { address, attempt: 1, clock },
    );
    meeting.catch(() => {});
    await clock.run(VERDICT_MS / 2);
    await expect(meeting).rejects.toThrow("EADDRINUSE");
    expect(signals.every((signal) => signal.aborted)).toBe(true);
  });

  test("any other failure is told after the time for a verdict, or as soon as all have settled, and no port is tried again", async () => {
    const clock = new SimulatedClock();
    const fails = async (): Promise<never> => {
      throw new Error("lr must be positive");
    };
    await expect(meet(["r/0"], fails, { address, attempt: 1, clock })).rejects.toThrow("lr must be positive");
    const waits = meet(["r/0", "r/1"], (_, { rank }) => (rank === 0 ? fails() : new Promise<never>(() => {})), {
      ...{ address, attempt: 1, clock },
    });
    waits.catch(() => {});
    await clock.run(VERDICT_MS);
    await expect(waits).rejects.toThrow("lr must be positive");
    let leases = 0;
    const lease = async () => ({ ip: "10.0.0.1", port: 20_000 + leases++ });
    await expect(withFreshPort(lease, fails, silentLogger)).rejects.toThrow("lr must be positive");
    expect(leases).toBe(1);
  });

  test("the word is found in causes, in the stack of Python and in last lines; about another port it does not count", () => {
    const python = new RayTaskError({
      message: "engine failed",
      remoteStack: "Traceback\nOSError: [Errno 98] Address already in use",
    });
    const crashed = new WorkerCrashedError({
      message: "it ended with exit code 1",
      where: {
        stderrTail: ["listen failed. port: 20000, useIpv6: false, code: -98, name: EADDRINUSE, address already in use"],
      },
    });
    expect(saysPortInUse(new EngineCallError("r/0", "init", "engine failed", 1, { cause: python }), 20_000)).toBe(true);
    expect(saysPortInUse(crashed, 20_000)).toBe(true);
    expect(saysPortInUse(crashed, 20_001)).toBe(false);
    const bind = new Error("[errno 98] error while attempting to bind on ('0.0.0.0', 30000): address already in use");
    expect([saysPortInUse(bind, 20_000), saysPortInUse(bind, 30_000)]).toEqual([false, true]);
    expect(saysPortInUse(new Error("errno 111: connection refused"), 20_000)).toBe(false);
    expect(saysPortInUse("EADDRINUSE", 20_000)).toBe(false);
  });
});
