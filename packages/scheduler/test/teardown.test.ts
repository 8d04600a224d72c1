import { expect, test } from "vitest";
import { MemoryCluster } from "./memory-cluster.ts";
import { engineClasses } from "./memory-engine.ts";

const SPEC = { cpu: 1, gpu: 1, mem: 1 };
const started = async (replicas: number, ...roles: string[]) => {
  const cluster = new MemoryCluster();
  const scheduler = cluster.scheduler();
  for (const role of roles) {
    await cluster.run(scheduler.createWorkers({ role, replicas, tasks: [SPEC] }));
    for (let index = 0; index < replicas; index++)
      await cluster.run(scheduler.createEngine(`${role}/${index}`, "my.Engine"));
  }
  return { cluster, scheduler };
};

test("all engines destroy themselves at the same time: a barrier in destroy needs every rank", async () => {
  let waiting = 0;
  const all = Promise.withResolvers<void>();
  engineClasses.set("my.Engine", () => ({
    destroy: () => {
      if (++waiting === 3) all.resolve();
      return all.promise;
    },
  }));
  const { cluster, scheduler } = await started(3, "actor");
  const { roles } = await cluster.run(scheduler.deleteWorkers("actor"));
  expect(roles).toMatchObject([
    {
      role: "actor",
      destroyed: ["actor/0", "actor/1", "actor/2"],
      killed: [],
      errors: [],
      groupsRemoved: 1,
      leftovers: 0,
    },
  ]);
  expect(cluster.clock.now()).toBe(0);
});

test("with reverseOrder rank 0 ends last, after the processes of all others are gone", async () => {
  const ends: string[] = [];
  engineClasses.set("my.Engine", () => ({}));
  const { cluster, scheduler } = await started(3, "actor");
  for (const server of cluster.servers) {
    const { kill } = server;
    server.kill = async () => {
      ends.push(server.start.workerId);
      await kill.call(server);
    };
  }
  await cluster.run(scheduler.deleteWorkers("actor", { reverseOrder: true }));
  expect(ends).toHaveLength(3);
  expect(ends.at(-1)).toBe("actor/0");
});

test("a rank that hangs in destroy is killed after the deadline, the others end in order, the report says so", async () => {
  engineClasses.set("my.Engine", () => ({}));
  const { cluster, scheduler } = await started(2, "actor");
  cluster.servers[1]!.hangs = true;
  const { roles } = await cluster.run(scheduler.deleteWorkers());
  expect(roles[0]).toMatchObject({ destroyed: ["actor/0"], killed: ["actor/1"], groupsRemoved: 1 });
  expect(roles[0]?.errors[0]).toMatchObject({ where: "actor/1", error: { code: "DEADLINE_EXCEEDED" } });
  expect(cluster.alive()).toHaveLength(0);
  expect(cluster.free().devices).toBe(8);
});

test("a destroy that raises is reported, and everything ends all the same", async () => {
  engineClasses.set("my.Engine", () => ({
    destroy: () => {
      throw new Error("NCCL timeout");
    },
  }));
  const { cluster, scheduler } = await started(1, "actor");
  const { roles } = await cluster.run(scheduler.deleteWorkers());
  expect(roles[0]?.errors[0]?.error.message).toContain("NCCL timeout");
  expect(cluster.alive()).toHaveLength(0);
});

test("areal 6.21: deleting without a name leaves no worker, no server and no group of any role", async () => {
  engineClasses.set("my.Engine", () => ({}));
  const { cluster, scheduler } = await started(1, "actor", "rollout", "critic");
  await cluster.run(scheduler.deleteWorkers());
  expect(cluster.alive()).toHaveLength(0);
  expect(cluster.groups.every((group) => group.removed)).toBe(true);
  for (const role of ["actor", "rollout", "critic"])
    await expect(scheduler.getWorkers(role)).rejects.toMatchObject({ code: "WORKER_NOT_FOUND" });
});

test("a role that does not exist, or whose workers are dead already, is deleted without an error", async () => {
  engineClasses.set("my.Engine", () => ({}));
  const { cluster, scheduler } = await started(2, "actor");
  expect(await scheduler.deleteWorkers("nobody")).toEqual({ roles: [] });
  for (const server of cluster.servers) server.end({ message: "exited", exitCode: 1 });
  const { roles } = await cluster.run(scheduler.deleteWorkers("actor"));
  expect(roles[0]).toMatchObject({ killed: [], errors: [], groupsRemoved: 1 });
  expect(await cluster.run(scheduler.deleteWorkers("actor"))).toEqual({ roles: [] });
});

test("areal 6.27: the end of the scheduler deletes all workers and never raises", async () => {
  engineClasses.set("my.Engine", () => ({}));
  const { cluster, scheduler } = await started(2, "actor");
  cluster.groups[0]!.remove = async () => {
    throw new Error("the head is gone");
  };
  await cluster.run(scheduler[Symbol.asyncDispose]());
  expect(cluster.alive()).toHaveLength(0);
});

test("a role that is being created is given up by a delete, and nothing of it is left", async () => {
  const cluster = new MemoryCluster();
  const scheduler = cluster.scheduler();
  const pending = Promise.withResolvers<void>();
  const { placementGroup } = cluster;
  cluster.placementGroup = async (...args) =>
    Object.assign(await placementGroup.apply(cluster, args), { ready: () => pending.promise });
  const creating = scheduler
    .createWorkers({ role: "actor", replicas: 2, tasks: [SPEC] })
    .catch((error: unknown) => error);
  await cluster.clock.run(10);
  expect(cluster.groups).toHaveLength(1);
  await cluster.run(scheduler[Symbol.asyncDispose]());
  expect(await creating).toMatchObject({ code: "CANCELLED" });
  expect(cluster.groups[0]?.removed).toBe(true);
  expect(cluster.servers).toHaveLength(0);
});

test("aborting a creation undoes it", async () => {
  const cluster = new MemoryCluster();
  const scheduler = cluster.scheduler();
  const abort = new AbortController();
  cluster.onServer = () => abort.abort(new Error("not needed any more"));
  const job = { role: "actor", replicas: 2, tasks: [SPEC] };
  await expect(cluster.run(scheduler.createWorkers(job, { signal: abort.signal }))).rejects.toThrow(
    "not needed any more",
  );
  expect(cluster.alive()).toHaveLength(0);
  expect(cluster.free().devices).toBe(8);
});
