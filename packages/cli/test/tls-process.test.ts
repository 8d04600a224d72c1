import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { createServer } from "node:tls";
import { certificates } from "@whipray/rpc";
import { afterAll, beforeAll, expect, test } from "vitest";
import { DRIVER, MAIN, makeMachine } from "./machine.ts";

const TEST_MS = 90_000;
/** Two machines, as far as files go. */
const [near, far] = [makeMachine(), makeMachine()];

interface Started {
  address: string;
  pin: string;
  clusterId: string;
  nodeId: string;
  joinTokenFile: string;
  tokenFile: string;
}
let started: Started;
const port = (): string => new URL(started.address).port;

beforeAll(async () => {
  const end = await near.whipray("start", "--head", "--tls", "--port", "0", "--num-cpus", "2", "--json");
  expect(end).toMatchObject({ code: 0, stderr: "" });
  started = JSON.parse(end.stdout);
}, TEST_MS);

afterAll(async () => {
  await far.leave();
  await near.leave();
}, TEST_MS);

test("start --head --tls makes a key that its user alone reads, and puts its pin where programs and machines find it", () => {
  const state = join(near.home, ".local/state/whipray/head");
  expect(statSync(join(state, "tls")).mode & 0o777).toBe(0o700);
  expect(statSync(join(state, "tls/authority.key")).mode & 0o777).toBe(0o600);
  expect(started.pin).toMatch(/^[0-9a-f]{64}$/);
  expect(started.address).toBe(`wss://127.0.0.1:${port()}#pin=${started.pin}`);
  expect(readFileSync(join(near.home, ".config/whipray/address"), "utf8").trim()).toBe(started.address);
  expect(readFileSync(started.joinTokenFile, "utf8").trim().split(":")).toEqual([
    started.clusterId,
    expect.stringMatching(/^[0-9a-f]{64}$/),
    started.pin,
  ]);
});

test(
  "a machine joins by the join string, and its own port speaks TLS; status says so",
  async () => {
    const line = readFileSync(started.joinTokenFile, "utf8").trim();
    const joining = ["start", "--address", `127.0.0.1:${port()}`, "--host", "0.0.0.0", "--node-ip", "127.0.0.2"];
    expect(await far.whipray(...joining, "--join", line)).toMatchObject({ code: 0, stderr: "" });
    const { nodes } = JSON.parse((await near.whipray("list", "nodes", "--json")).stdout);
    expect(nodes.map((one: { state: string; reach: string; tls: boolean }) => [one.state, one.reach, one.tls])).toEqual(
      [
        ["ALIVE", "direct", true],
        ["ALIVE", "direct", true],
      ],
    );
    const status = await near.whipray("status");
    expect(status.stdout).toContain(`wss://127.0.0.1:${port()}  TLS`);
    expect(status.stdout).not.toContain("plain text");
    expect(JSON.parse((await near.whipray("status", "--json")).stdout)).toMatchObject({
      address: `wss://127.0.0.1:${port()}`,
      ...{ tls: true, pin: started.pin, insecurePlaintext: false },
    });
  },
  TEST_MS,
);

test(
  "a program on the head's machine needs host and port alone; list, logs and attach work",
  async () => {
    const driver = await near.node([DRIVER, `127.0.0.1:${port()}`]);
    expect(driver).toMatchObject({ code: 0, stderr: "" });
    expect((await near.whipray("list", "actors")).stdout).toContain("talker");
    for (const address of [started.address, `localhost:${port()}`, `127.0.0.1:${port()}#pin=${started.pin}`]) {
      const logs = await near.whipray("logs", "talker", "--address", address);
      expect(logs).toMatchObject({ code: 0, stdout: expect.stringContaining("hello from the actor") });
    }
    const viewer = spawn(process.execPath, [MAIN, "attach", "talker"], {
      env: near.env,
      stdio: ["ignore", "pipe", "ignore"],
    });
    let shown = "";
    viewer.stdout.on("data", (bytes: Buffer) => {
      shown += bytes.toString();
    });
    const ended = new Promise((resolve) => viewer.once("exit", resolve));
    await expect.poll(() => shown, { timeout: 20_000 }).toContain("hello from the actor");
    viewer.kill("SIGINT");
    await ended;
  },
  TEST_MS,
);

test(
  "a program on another machine brings token and address with the pin; without the pin it is told so",
  async () => {
    const token = readFileSync(started.tokenFile, "utf8").trim();
    const status = (address: string) => far.node([MAIN, "status", "--address", address], { WHIPRAY_TOKEN: token });
    expect(await status(started.address)).toMatchObject({ code: 0 });
    expect(await status(`127.0.0.1:${port()}`)).toMatchObject({
      code: 5,
      stderr: expect.stringContaining("TLS_REQUIRED"),
    });
    expect(await status(`wss://127.0.0.1:${port()}`)).toMatchObject({
      code: 4,
      stderr: expect.stringContaining("TLS_UNTRUSTED"),
    });
    const wrong = await status(`wss://127.0.0.1:${port()}#pin=${"0".repeat(64)}`);
    expect(wrong).toMatchObject({ code: 4, stderr: expect.stringContaining("TLS_PIN_MISMATCH") });
    for (const pin of ["0".repeat(64), started.pin]) expect(wrong.stderr).toContain(pin);
  },
  TEST_MS,
);

test(
  "who joins through a server with another pin is refused, leaves nothing running, and told that server nothing",
  async () => {
    const { serverCertificate } = await certificates();
    const heard: Buffer[] = [];
    let dialled = 0;
    const server = createServer(serverCertificate({ names: ["127.0.0.1"], wallMs: Date.now() }), (socket) => {
      socket.on("error", () => {});
      socket.on("data", (bytes: Buffer) => heard.push(bytes));
    });
    server.on("connection", () => dialled++);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    try {
      const before = readdirSync(join(far.run, "daemons"));
      const address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
      const joining = ["start", "--address", address, "--second-raylet", "--join-token-file", started.joinTokenFile];
      const refused = await far.whipray(...joining);
      expect(refused).toMatchObject({ code: 4, stdout: "", stderr: expect.stringContaining("TLS_PIN_MISMATCH") });
      expect(dialled).toBeGreaterThan(0);
      expect(Buffer.concat(heard).toString("latin1")).toBe("");
      expect(readdirSync(join(far.run, "daemons"))).toEqual(before);
    } finally {
      server.close();
    }
  },
  TEST_MS,
);

test(
  "started again, also without --tls, it is the same cluster with the same pin; stop leaves nothing",
  async () => {
    const stopped = await near.whipray("stop", "--json");
    expect(JSON.parse(stopped.stdout).stopped).toHaveLength(2);
    const again = await near.whipray("start", "--head", "--port", "0", "--num-cpus", "2", "--json");
    expect(again).toMatchObject({ code: 0 });
    expect(JSON.parse(again.stdout)).toMatchObject({ address: started.address, pin: started.pin });
    await expect.poll(() => livingNodes(), { timeout: 30_000 }).toBe(2);
    expect(await far.whipray("stop")).toMatchObject({ code: 0 });
    expect(await near.whipray("stop")).toMatchObject({ code: 0 });
    for (const { run } of [near, far]) {
      expect(readdirSync(run).sort()).toEqual(["daemons", "host"]);
      expect(readdirSync(join(run, "daemons"))).toEqual([]);
    }
    expect(existsSync(join(near.home, ".config/whipray/address"))).toBe(false);
  },
  TEST_MS,
);

test(
  "start --head --tls --host 0.0.0.0 prints the one line that joins another machine: pasted there, it does",
  async () => {
    const [one, two] = [makeMachine(), makeMachine()];
    try {
      const up = await one.whipray("start", "--head", "--tls", "--host", "0.0.0.0", "--port", "0", "--num-cpus", "1");
      expect(up).toMatchObject({ code: 0, stderr: "" });
      const line = /join, on another machine:\n\s+whipray (start .*)\n/.exec(up.stdout)?.[1];
      const file = join(one.home, ".config/whipray/join-token");
      expect(line).toMatch(/^start --address \S+:\d+ --host 0\.0\.0\.0 --join-token-file \S+$/);
      expect(line?.split(" ").at(-1)).toBe(file);
      // What is not written to a terminal may be kept: it has no secret.
      expect(up.stdout).not.toContain(readFileSync(file, "utf8").trim().split(":")[1]);
      expect(await two.whipray(...line!.split(" "))).toMatchObject({
        code: 0,
        stdout: expect.stringContaining("has joined cluster_"),
      });
      const { nodes } = JSON.parse((await one.whipray("list", "nodes", "--json")).stdout);
      expect(nodes.map(({ state, tls }: { state: string; tls: boolean }) => [state, tls])).toEqual([
        ["ALIVE", true],
        ["ALIVE", true],
      ]);
    } finally {
      expect(await two.whipray("stop")).toMatchObject({ code: 0 });
      expect(await one.whipray("stop")).toMatchObject({ code: 0 });
    }
    for (const { run } of [one, two]) expect(readdirSync(join(run, "daemons"))).toEqual([]);
    await Promise.all([one.leave(), two.leave()]);
  },
  TEST_MS,
);

async function livingNodes(): Promise<number> {
  const { nodes } = JSON.parse((await near.whipray("list", "nodes", "--json")).stdout);
  return nodes.filter(({ state }: { state: string }) => state === "ALIVE").length;
}
