import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { hostname } from "node:os";
import { ownPidNamespace } from "@whipray/rpc";
import { expect, test } from "vitest";
import { networkProber } from "../src/node-probe.io.ts";

const prober = networkProber();

test("a port that is listened on is there, one that refuses is gone", async () => {
  const server = createServer((socket) => socket.destroy()).listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `ws://127.0.0.1:${(server.address() as { port: number }).port}`;
  expect(await prober.probe({ url, pid: 1, hostname: "elsewhere" })).toBe("there");
  server.close();
  await once(server, "close");
  expect(await prober.probe({ url, pid: 1, hostname: "elsewhere" })).toBe("gone");
});

test("without a port the pid tells, on this machine and in this pid namespace only", async () => {
  const child = spawn("sleep", ["60"]);
  const pid = child.pid!;
  const here = { pid, hostname: hostname(), pidNamespace: ownPidNamespace() };
  expect(await prober.probe(here)).toBe("there");
  child.kill("SIGKILL");
  await once(child, "exit");
  expect(await prober.probe(here)).toBe("gone");
  expect(await prober.probe({ ...here, hostname: "elsewhere" })).toBe("unknown");
  // A container with the host's name, and a process of a version that does not tell: a pid there is not one of ours.
  const [boot] = here.pidNamespace!.split("/");
  expect(await prober.probe({ ...here, pidNamespace: `${boot}/pid:[1]` })).toBe("unknown");
  expect(await prober.probe({ ...here, pidNamespace: undefined })).toBe("unknown");
});

test("a host that cannot be found tells nothing", async () => {
  expect(await prober.probe({ url: "ws://no-such-host.invalid:1", pid: 1, hostname: "x" })).toBe("unknown");
});
