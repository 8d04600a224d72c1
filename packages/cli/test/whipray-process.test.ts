import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { DRIVER, MAIN, makeMachine, until } from "./machine.ts";

const TEST_MS = 90_000;
const machine = makeMachine();
const { home, run, node, whipray } = machine;

let started: { address: string; clusterId: string; nodeId: string; joinTokenFile: string };

beforeAll(async () => {
  const end = await whipray("start", "--head", "--port", "0", "--num-cpus", "2", "--labels", "zone=a", "--json");
  expect(end).toMatchObject({ code: 0 });
  started = JSON.parse(end.stdout);
}, TEST_MS);

afterAll(() => machine.leave(), TEST_MS);

test("a started cluster has a driver's token, an address, and a join token that only its user reads", () => {
  for (const path of [
    ".config/whipray/token",
    ".config/whipray/join-token",
    ".local/state/whipray/head/cluster.json",
  ]) {
    expect(statSync(join(home, path)).mode & 0o777).toBe(0o600);
  }
  expect(started.clusterId).toMatch(/^cluster_/);
  const journal = readdirSync(join(home, ".local/state/whipray/head")).filter((name) => name.startsWith("journal.db"));
  expect(journal).toContain("journal.db-wal");
  for (const name of journal) {
    expect([name, statSync(join(home, ".local/state/whipray/head", name)).mode & 0o777]).toEqual([name, 0o600]);
  }
});

test(
  "a second head beside it is refused",
  async () => {
    expect(await whipray("start", "--head", "--port", "0")).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("ALREADY_RUNNING"),
    });
  },
  TEST_MS,
);

test(
  "status, list and logs show what a program left there; ids that are none exit 3",
  async () => {
    const driver = await node([DRIVER, started.address]);
    expect(driver).toMatchObject({ code: 0, stderr: "" });
    const status = JSON.parse((await whipray("status", "--json")).stdout);
    expect(status.resources["CPU"]).toEqual({ used: 1, total: 2 });
    expect(status.nodes).toMatchObject([{ id: started.nodeId, state: "ALIVE", reach: "direct" }]);
    expect(status.actors).toMatchObject([{ name: "talker", state: "ALIVE", pid: Number(driver.stdout) }]);
    const logs = await whipray("logs", "talker", "--lines", "5");
    expect(logs).toMatchObject({ code: 0, stderr: "" });
    expect(logs.stdout).toContain("hello from the actor");
    expect((await whipray("list", "actors")).stdout).toContain("talker");
    expect(await whipray("logs", "nobody")).toMatchObject({ code: 3, stdout: "" });
    process.kill(Number(driver.stdout), "SIGKILL");
    await until("the actor is dead", async () => {
      return JSON.parse((await whipray("list", "actors", "--json")).stdout).actors[0].state === "DEAD";
    });
    expect((await whipray("logs", "talker")).stdout).toContain("hello from the actor");
  },
  TEST_MS,
);

test(
  "a wrong token exits 4, a head that is not there 5; the flag beats the environment",
  async () => {
    const wrong = await node([MAIN, "status"], { WHIPRAY_TOKEN: "0".repeat(64) });
    expect(wrong).toMatchObject({ code: 4, stdout: "" });
    const away = await node([MAIN, "status", "--address", "127.0.0.1:1"], { WHIPRAY_ADDRESS: started.address });
    expect(away).toMatchObject({ code: 5, stdout: "" });
    expect(await node([MAIN, "status"], { WHIPRAY_ADDRESS: "127.0.0.1:1" })).toMatchObject({ code: 5 });
  },
  TEST_MS,
);

test(
  "F32: a second raylet of one machine is refused and told of the first; one that is asked for joins, and stop ends both",
  async () => {
    const joining = ["start", "--address", started.address, "--join-token-file", started.joinTokenFile];
    const refused = await whipray(...joining);
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining("ALREADY_RUNNING") });
    expect(refused.stderr).toContain(started.nodeId);
    expect(JSON.parse((await whipray("list", "nodes", "--json")).stdout).nodes).toHaveLength(1);
    const joined = await whipray(...joining, "--second-raylet", "--node-name", "second", "--json");
    expect(joined).toMatchObject({ code: 0 });
    const { nodes } = JSON.parse((await whipray("list", "nodes", "--json")).stdout);
    expect(nodes).toHaveLength(2);
    expect(nodes).toContainEqual(expect.objectContaining({ name: "second", reach: "direct", state: "ALIVE" }));
    const pids = readdirSync(join(run, "daemons"));
    expect(pids).toHaveLength(3);
    const stopped = await whipray("stop", "--json");
    expect(
      JSON.parse(stopped.stdout).stopped.map((one: { kind: string; killed: boolean }) => [one.kind, one.killed]),
    ).toEqual([
      ["raylet", false],
      ["raylet", false],
      ["head", false],
    ]);
    expect(readdirSync(run).sort()).toEqual(["daemons", "host"]);
    expect(readdirSync(join(run, "daemons"))).toEqual([]);
    expect(existsSync(join(home, ".config/whipray/address"))).toBe(false);
    expect(await whipray("status")).toMatchObject({ code: 5 });
  },
  TEST_MS,
);

test(
  "a head that is started again is the same cluster: same id, same port",
  async () => {
    const again = await whipray("start", "--head", "--port", "0", "--json");
    expect(JSON.parse(again.stdout)).toMatchObject({ address: started.address, clusterId: started.clusterId });
  },
  TEST_MS,
);

test(
  "SIGKILL of the head: start --head brings it back, and the raylet of this machine goes on as the only one",
  async () => {
    const [before, ...others] = await livingNodes();
    expect(others).toEqual([]);
    process.kill(JSON.parse(readFileSync(join(run, "daemons/head.json"), "utf8")).pid, "SIGKILL");
    await until("the head is gone", async () => (await whipray("status")).code === 5);
    const again = await whipray("start", "--head", "--port", "0", "--json");
    expect(JSON.parse(again.stdout)).toMatchObject({ clusterId: started.clusterId, nodeId: before?.id });
    expect(again.stderr).toContain("goes on with what it runs");
    await until("the raylet is back", async () => (await livingNodes()).some(({ pid }) => pid === before?.pid));
    expect(await livingNodes()).toHaveLength(1);
  },
  TEST_MS,
);

test(
  "SIGKILL of the raylet: doctor names it, and start --head brings it back to the head that goes on",
  async () => {
    const [before] = await livingNodes();
    const head = JSON.parse(readFileSync(join(run, "daemons/head.json"), "utf8")).pid;
    process.kill(before!.pid, "SIGKILL");
    await until("the node is dead", async () => (await livingNodes()).length === 0);
    const { problems } = JSON.parse((await whipray("doctor", "--json")).stdout);
    expect(problems.join("\n")).toContain(`the raylet ${before?.pid} that was started here is gone`);
    const again = await whipray("start", "--head", "--json");
    expect(again).toMatchObject({ code: 0, stderr: expect.stringContaining(`(pid ${head}) goes on`) });
    expect(JSON.parse(again.stdout)).toMatchObject({ clusterId: started.clusterId, address: started.address });
    expect((await livingNodes()).map(({ id }) => id)).toEqual([JSON.parse(again.stdout).nodeId]);
    expect(await whipray("start", "--head")).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("ALREADY_RUNNING"),
    });
  },
  TEST_MS,
);

async function livingNodes(): Promise<{ id: string; pid: number; state: string }[]> {
  const { nodes } = JSON.parse((await whipray("list", "nodes", "--json")).stdout);
  return nodes.filter(({ state }: { state: string }) => state === "ALIVE");
}
