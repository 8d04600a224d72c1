import { statSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { connect } from "node:net";
import { basename, dirname, join } from "node:path";
import { asWhiprayError, randomIds, silentLogger, systemClock, systemRandom } from "@whipray/core";
import {
  dialTransport,
  encodeFrame,
  frameKind,
  KIND,
  parseFrame,
  type Role,
  unixTransport,
  WireEndpoint,
} from "@whipray/rpc";
import { RayScheduler } from "@whipray/scheduler";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Cluster, daemons } from "whipray";
import { describeLeaks } from "../src/leak-check.ts";
import { type RealCluster, startCluster } from "../src/real-cluster.io.ts";
import { type Listening, listenersOf } from "./listeners-of.ts";
import { Rank, type Stage } from "./stage.ts";

// D6, P14: the listeners are found from outside, not from a list of ours: one that is added later is walked through too.
const TEST_MS = 90_000;
const ROLES: readonly Role[] = ["head", "raylet", "driver", "worker", "engine"];
const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "QUERY"];
const PATHS = [
  "/",
  "/healthz",
  "/healthz/",
  "/HEALTHZ",
  "/metrics",
  "/api/jobs",
  "/api/jobs/?x=/healthz",
  "/logs/..%2f",
  "//healthz",
  "/.env",
];
const WRONG = "0".repeat(64);

describe.each([
  ["plain text on loopback", false],
  ["TLS", true],
])("every listener of a cluster with actors and engines, over %s", (_, tls) => {
  let real: RealCluster;
  let cluster: Cluster;
  let stage: Stage;
  let listeners: Listening[];
  let urls: string[];

  beforeAll(async () => {
    real = await startCluster({ tls, raylets: [{ resources: { CPU: 4, near: 4 } }, { resources: { CPU: 4 } }] });
    cluster = await real.connect({ namespace: "test" });
    stage = { real, cluster, scheduler: new RayScheduler({ cluster, destroyTimeoutMs: 2_000 }) };
    await Rank.start(stage, "near", "near");
    listeners = listenersOf(real.clusterId, real.directory);
    const head = tls ? real.address : `ws://${real.address}`;
    const tcp = [head, ...(await cluster.nodes()).map(({ url }) => url!)];
    const unix = listeners.flatMap((one) => (one.kind === "unix" ? [`unix:${one.path}`] : []));
    urls = [...tcp, ...unix.filter((url) => !url.endsWith("/guards.sock"))];
  }, TEST_MS);

  afterAll(async () => {
    await stage?.scheduler[Symbol.asyncDispose]();
    expect(describeLeaks((await real?.stop()) ?? [])).toBe("");
  }, TEST_MS);

  test("is one of those that the tests below walk through, on loopback, and its user's alone", () => {
    const tcp = listeners.filter((one) => one.kind === "tcp");
    const known = urls.filter((url) => !url.startsWith("unix:")).map((url) => Number(new URL(url).port));
    expect(tcp.map(({ port }) => port).sort()).toEqual(known.sort());
    for (const { host } of tcp) expect(daemons.isLoopback(host)).toBe(true);
    const unix = listeners.filter((one) => one.kind === "unix").map(({ path }) => path);
    const workers = unix.filter((path) => /\/s\/\w+\.sock$/.test(path));
    const others = unix.filter((path) => !workers.includes(path)).map((path) => basename(path));
    // Guards have a socket where there is an engine.
    expect(others.sort()).toEqual(["guards.sock", "head.sock", "raylet.sock", "raylet.sock"]);
    expect(workers.length).toBeGreaterThan(0);
    for (const path of unix) {
      expect([path, statSync(path).mode & 0o777, statSync(dirname(path)).mode & 0o777]).toEqual([path, 0o600, 0o700]);
    }
  });

  test("answers who speaks another protocol, and its daemon's log has one line of it (B3)", async () => {
    const ports = urls.filter((url) => !url.startsWith("unix:")).map((url) => Number(new URL(url).port));
    for (const port of ports) {
      for (let i = 0; i < 5; i++)
        expect(await answerOf({ port }, "\0\0no HTTP")).toMatch(/WRONG_PROTOCOL|TLS_REQUIRED/);
    }
    const lines = real
      .logs()
      .split("\n")
      .filter((line) => line.includes("WRONG_PROTOCOL"));
    expect([ports.length, lines.length]).toEqual([3, 3]);
  });

  test("gives a plain request nothing but the word that it is up, whatever method and path", async () => {
    for (const url of urls.filter((one) => !one.startsWith("unix:"))) {
      for (const method of METHODS) {
        for (const path of PATHS) {
          for (const token of [undefined, WRONG]) {
            const { status, body } = await ask(url, method, path, token);
            const health = path === "/healthz" && (method === "GET" || method === "HEAD");
            if (health) expect([method, status, body]).toEqual([method, 200, method === "GET" ? "ok\n" : ""]);
            else expect([method, path, [400, 401, 403, 404, 405].includes(status)]).toEqual([method, path, true]);
          }
        }
      }
    }
  });

  test(
    "lets nobody in without a token, with a wrong one, or with that of another role",
    async () => {
      const { secret } = daemons.readClusterFile(join(real.directory, "head"));
      const tokens: Partial<Record<Role, string>> = { ...daemons.clusterTokens(secret) };
      const tries = urls.flatMap((url) =>
        ROLES.flatMap((role) => {
          const others = Object.entries(tokens).flatMap(([owner, token]) => (owner === role ? [] : [token]));
          return ["", WRONG, ...others].map((token) => ({ url, role, token }));
        }),
      );
      const answers = await Promise.all(tries.map(({ url, role, token }) => enter(real.clusterId, url, role, token)));
      // After ten wrong tries of an address the rest are told to wait.
      for (const [index, code] of answers.entries()) {
        expect([tries[index], ["UNAUTHENTICATED", "BUSY"].includes(code)]).toEqual([tries[index], true]);
      }
      expect(await enter(real.clusterId, urls[0]!, "driver", tokens.driver!)).toBe("in");
    },
    TEST_MS,
  );

  test("serves nobody who does not begin with a HELLO", async () => {
    for (const url of urls.filter((one) => one.startsWith("unix:"))) {
      for (const kind of [KIND.OPEN, KIND.REQUEST, KIND.ONEWAY, KIND.PING]) {
        expect(await firstFrame(url, encodeFrame(1, kind, 0, 1))).toBe("refused");
      }
    }
  });

  test("of guards hangs up on whoever does not know a lease's token", async () => {
    const guards = listeners.flatMap((one) =>
      one.kind === "unix" && one.path.endsWith("/guards.sock") ? [one.path] : [],
    );
    const lines = [
      { hello: { lease: "lease_a", epoch: 1, token: WRONG } },
      { event: "exit" },
      { kill: { graceMs: 0 } },
    ];
    for (const path of guards) {
      for (const line of lines) expect(await answerOf(path, `${JSON.stringify(line)}\n`)).toBe("");
    }
  });
});

/** Tries to come in as `role`; the error's code, or `in`. */
async function enter(cluster: string, url: string, role: Role, token: string): Promise<string> {
  const services = { clock: systemClock, ids: randomIds(), random: systemRandom, logger: silentLogger };
  const address = role === "driver" ? "head/driver_x" : "node_x/raylet";
  const endpoint = new WireEndpoint({ ...services, address, role, token, cluster, pid: 1, transport: dialTransport() });
  try {
    await endpoint.reachable(url, "control", 20_000);
    return "in";
  } catch (error) {
    return asWhiprayError(error).code;
  } finally {
    await endpoint.close();
  }
}

function ask(
  url: string,
  method: string,
  path: string,
  token: string | undefined,
): Promise<{ status: number; body: string }> {
  const { hostname: host, port, protocol } = new URL(url);
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const request = protocol === "wss:" ? httpsRequest : httpRequest;
  return new Promise((resolve, reject) => {
    const sent = request({ host, port, method, path, headers, rejectUnauthorized: false, agent: false }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (text: string) => {
        body += text;
      });
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
    });
    sent.on("error", reject);
    sent.end();
  });
}

/** What becomes of one who says `frame` first. */
async function firstFrame(url: string, frame: Uint8Array): Promise<string> {
  const channel = await unixTransport.dial(url);
  return new Promise((resolve) => {
    channel.start({
      onFrame: (raw) => {
        if (frameKind(raw) !== KIND.REFUSE) resolve(`kind ${parseFrame(raw).kind}`);
      },
      onDrain: () => {},
      onClose: () => resolve("refused"),
    });
    channel.send([frame]);
  });
}

/** Everything that a unix socket says to one who says `text`, until it hangs up. */
function answerOf(where: string | { port: number }, text: string): Promise<string> {
  return new Promise((resolve) => {
    let answer = "";
    const options = typeof where === "string" ? { path: where } : { ...where, host: "127.0.0.1" };
    const socket = connect(options, () => socket.write(text));
    socket.setEncoding("utf8");
    socket.on("data", (more: string) => {
      answer += more;
    });
    socket.on("error", () => {}); // "close" follows
    socket.on("close", () => resolve(answer));
  });
}
