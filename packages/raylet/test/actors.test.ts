import { WhiprayError } from "@whipray/core";
import { logTail, processCause } from "@whipray/rpc";
import { describe, expect, test } from "vitest";
import { WARM_IDLE_MS } from "../src/worker-pool.ts";
import { WORKER_START_LIMIT_MS } from "../src/workers.ts";
import { GPU1, NODE, startedNode, WHOLE } from "./fake-node.ts";

describe("actors", () => {
  test("start in a worker that knows its raylet, and tell where they are", async () => {
    const { start, workers } = await startedNode();
    const answer = await start("actor_a", { ...GPU1, env: { RANK: "0" }, args: [Buffer.from("x")] });
    const [worker] = workers;
    expect(answer).toMatchObject({
      ok: true,
      address: `${NODE}/${worker!.workerId}`,
      inc: worker!.endpoint.incarnation,
      pid: worker!.child.pid,
      socket: `/s/${worker!.workerId}`,
      devices: [{ uuid: "gpu-0", units: WHOLE }],
    });
    expect(worker!.child.spec).toMatchObject({
      command: "/node",
      args: ["/worker.js"],
      env: { WHIPRAY_NODE_ID: NODE, WHIPRAY_RAYLET_SOCKET: "/raylet.sock", WHIPRAY_TOKEN_FILE: "/token", PATH: "/bin" },
    });
    expect(worker!.hosted).toMatchObject([
      {
        epoch: 1,
        env: { RANK: "0", CUDA_VISIBLE_DEVICES: "gpu-0" },
        spec: { actorId: "actor_a", args: [] },
        args: [expect.anything()],
      },
    ]);
  });

  test("the same start again gets the same answer, a newer epoch replaces, an older one is refused", async () => {
    const { start, workers, settled } = await startedNode();
    const first = await start("actor_a");
    expect(await start("actor_a")).toEqual(first);
    const second = start("actor_a", {}, 2);
    await settled();
    expect((await second).address).not.toBe(first.address);
    expect(workers[0]!.child.running).toBe(false);
    await expect(start("actor_a", {}, 1)).rejects.toMatchObject({ code: "STALE_EPOCH" });
  });

  test("a start that does not fit is refused with the reason and a fresh view", async () => {
    const { start, workers } = await startedNode({ gpus: 0 });
    const answer = await start("actor_a", GPU1);
    expect(answer).toMatchObject({
      ok: false,
      refused: expect.stringContaining("0 GPU free, 1 GPU wanted"),
      view: { version: 1 },
    });
    expect(workers).toEqual([]);
  });

  test("a constructor that raises: CREATION_FAILED with its error, and nothing is kept", async () => {
    const { start, raylet, head, settled } = await startedNode({
      construct: () => {
        throw new TypeError("bad weights");
      },
    });
    const answer = await start("actor_a", { units: { CPU: WHOLE } });
    expect(answer).toMatchObject({
      ok: false,
      failed: { kind: "CREATION_FAILED", message: expect.stringContaining("bad weights") },
    });
    await settled();
    expect(raylet.counts).toMatchObject({ actors: 0, running: 0, workers: 0, engines: 0, tasks: 0 });
    expect(answer.view.free).toMatchObject({ CPU: 8 * WHOLE });
    expect(head.ended).toEqual([]);
  });

  test("a worker that dies in the constructor: WORKER_DIED with exit code and last lines", async () => {
    const { start } = await startedNode({
      construct: (worker) => {
        worker.say("cannot map libcuda");
        worker.child.exit({ code: 7, signal: null });
        return new Promise(() => {});
      },
    });
    expect(await start("actor_a")).toMatchObject({
      ok: false,
      failed: {
        kind: "WORKER_DIED",
        exitCode: 7,
        stderrTail: ["cannot map libcuda"],
        logPath: expect.stringContaining("worker_"),
      },
    });
  });

  test("a worker that cannot be started, or never says that it is ready, is a failure with its reason", async () => {
    const node = await startedNode({ ready: () => false });
    node.processes.refusal = "could not start /node: ENOENT";
    expect(await node.start("actor_a")).toMatchObject({ failed: { message: "could not start /node: ENOENT" } });
    node.processes.refusal = undefined;
    const slow = node.start("actor_b");
    await node.settled(WORKER_START_LIMIT_MS);
    const expected = {
      kind: "WORKER_DIED",
      message: expect.stringContaining("signal SIGKILL before it was ready"),
    };
    expect(await slow).toMatchObject({ failed: expected });
    expect(node.raylet.counts.workers).toBe(0);
  });

  test("an environment that is refused fails the start, and starts no process (B26)", async () => {
    const { start, workers } = await startedNode();
    const { failed } = await start("actor_a", { ...GPU1, env: { CUDA_VISIBLE_DEVICES: "0,1" } });
    expect(failed).toMatchObject({
      kind: "CREATION_FAILED",
      message: expect.stringContaining("gpu-0"),
      error: { code: "INVALID_ENV" },
    });
    expect((await start("actor_b", { env: { PATH: "/evil" } })).failed).toMatchObject({
      error: { code: "INVALID_ENV" },
    });
    expect(workers).toEqual([]);
    expect((await start("actor_c", { ...GPU1, isolation: "none", env: { CUDA_VISIBLE_DEVICES: "0,1" } })).ok).toBe(
      true,
    );
    expect(workers[0]!.hosted[0]!.env["CUDA_VISIBLE_DEVICES"]).toBe("0,1");
  });

  test("F38 no memory for a process now: refused, so that the head looks elsewhere", async () => {
    const node = await startedNode();
    node.processes.spawn = () =>
      Promise.reject(new WhiprayError({ code: "SPAWN_FAILED", message: "EAGAIN", retryable: true }));
    expect(await node.start("actor_a", { units: { CPU: WHOLE } })).toMatchObject({
      ok: false,
      refused: "EAGAIN",
      view: { free: { CPU: 8 * WHOLE } },
    });
  });

  test("a node that leaves takes nothing new", async () => {
    const { start, raylet, settled } = await startedNode();
    const stopped = raylet.stop();
    await expect(start("actor_a")).rejects.toMatchObject({ code: "NODE_LEAVING", retryable: true });
    await settled();
    await stopped;
  });

  test("F21 an exit is told with code, signal, last lines and log, and the lease is back", async () => {
    const { start, workers, head, settled, toRaylet } = await startedNode();
    await start("actor_a", GPU1);
    workers[0]!.say("Fatal: out of luck");
    workers[0]!.child.exit({ code: null, signal: "SIGSEGV" });
    await settled();
    expect(head.ended).toMatchObject([
      {
        actorId: "actor_a",
        epoch: 1,
        cause: { kind: "WORKER_DIED", signal: "SIGSEGV", stderrTail: ["Fatal: out of luck"], nodeId: NODE },
        view: { devices: { "gpu-0": WHOLE, "gpu-1": WHOLE } },
      },
    ]);
    const process = `${NODE}/${workers[0]!.workerId}`;
    expect(await toRaylet.invoke(processCause, { process, timeoutMs: 0 })).toMatchObject({
      cause: { signal: "SIGSEGV" },
    });
    for (const name of [process, "actor_a"])
      expect(await toRaylet.invoke(logTail, { process: name, lines: 5 })).toMatchObject({
        lines: ["Fatal: out of luck"],
      });
  });

  test("exit code 0 is the actor's own wish (Ray: exit_actor)", async () => {
    const { start, workers, head, settled } = await startedNode();
    await start("actor_a");
    workers[0]!.child.exit({ code: 0, signal: null });
    await settled();
    expect(head.ended).toMatchObject([{ cause: { kind: "EXITED", exitCode: 0 } }]);
  });

  test("stop with grace asks, without it kills; the head's cause stands", async () => {
    const { start, stop, workers, head, settled } = await startedNode();
    await start("actor_a");
    await start("actor_b");
    await settled();
    expect(await stop("actor_a", 5_000)).toMatchObject({ found: true });
    expect(await stop("actor_b", 0)).toMatchObject({ found: true });
    expect(await stop("actor_b", 0)).toMatchObject({ found: false });
    const byActor = (id: string) => workers.find((worker) => worker.hosted[0]?.spec.actorId === id)!;
    expect(byActor("actor_a").child.signals).toEqual([]);
    expect(byActor("actor_b").child.signals).toEqual(["SIGKILL"]);
    await settled();
    expect(head.ended).toMatchObject([
      { actorId: "actor_a", cause: { kind: "RAY_KILL", message: "killed", exitCode: 0 } },
      { actorId: "actor_b", cause: { kind: "RAY_KILL", signal: "SIGKILL" } },
    ]);
  });

  test("a worker that ignores the request to leave is killed after the grace", async () => {
    const { start, stop, workers, settled } = await startedNode();
    await start("actor_a");
    workers[0]!.endpoint.handlers.set("worker.exit", () => new Promise(() => {}));
    const stopped = stop("actor_a", 5_000);
    await settled(5_000);
    expect(workers[0]!.child.signals).toEqual([]);
    await settled(500);
    expect(workers[0]!.child.signals).toEqual(["SIGKILL"]);
    await stopped;
  });

  test("stop while it still waits for its process", async () => {
    const { start, stop, settled, raylet } = await startedNode({ ready: () => false });
    const starting = start("actor_a", { units: { CPU: WHOLE } });
    await settled();
    await stop("actor_a");
    expect(await starting).toMatchObject({
      ok: false,
      failed: { kind: "RAY_KILL" },
      view: { free: { CPU: 8 * WHOLE } },
    });
    expect(raylet.counts).toMatchObject({ actors: 0, running: 0, workers: 0, engines: 0, tasks: 0 });
  });

  test("ends of actors that the head missed are told after it came back", async () => {
    const { start, workers, head, settled, network, endpoint } = await startedNode();
    await start("actor_a");
    network.down.add("head/head");
    workers[0]!.child.exit({ code: 1, signal: null });
    await settled();
    expect(head.ended).toEqual([]);
    network.down.delete("head/head");
    endpoint.peers.get("control head/head")!.close();
    await settled(5_000);
    expect(head.registrations[1]).toMatchObject({ actors: [] });
    expect(head.ended).toMatchObject([{ actorId: "actor_a", cause: { exitCode: 1 } }]);
  });

  test("what a worker's children hold is quarantined until they are gone (P6)", async () => {
    const { start, workers, processes, head, settled } = await startedNode();
    await start("actor_a", GPU1);
    processes.sweepOutcome = { killed: 0, left: 1 };
    workers[0]!.child.exit({ code: 1, signal: null });
    await settled();
    expect(head.ended[0]?.view.devices).toEqual({ "gpu-1": WHOLE });
    processes.sweepOutcome = { killed: 1, left: 0 };
    await settled(2_000);
    expect(head.views.at(-1)?.devices).toEqual({ "gpu-0": WHOLE, "gpu-1": WHOLE });
  });
});

describe("warm workers (mechanism 12)", () => {
  test("none before first use, one after it, none after 30 s idle", async () => {
    const { start, raylet, settled, stop } = await startedNode();
    expect(raylet.counts.workers).toBe(0);
    await start("actor_a");
    await settled();
    expect(raylet.counts.workers).toBe(2);
    const second = await start("actor_b");
    expect(second.ok).toBe(true);
    await settled();
    expect(raylet.counts.workers).toBe(3);
    await stop("actor_a");
    await stop("actor_b");
    await settled(WARM_IDLE_MS);
    expect(raylet.counts.workers).toBe(0);
  });

  test("a blank worker that died does not fail the actor that would have had it", async () => {
    const { start, settled, workers } = await startedNode();
    await start("actor_a");
    await settled();
    workers[1]!.child.exit({ code: 1, signal: null });
    expect(await start("actor_b")).toMatchObject({ ok: true });
  });
});
