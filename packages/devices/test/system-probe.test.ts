import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { builtinPlugins, detectDevices, nvidia, refreshFingerprint, systemProbe } from "../src/index.ts";
import { fixture } from "./fixture.ts";

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "whipray-devices-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** Puts a tool on the PATH of the probes below. */
async function tool(name: string, script: string): Promise<void> {
  await writeFile(join(folder, name), `#!/bin/sh\n${script}\n`);
  await chmod(join(folder, name), 0o755);
}

const probeHere = (options: Parameters<typeof systemProbe>[0] = {}) =>
  systemProbe({ environment: { PATH: `${folder}:/usr/bin:/bin` }, root: folder, ...options });

/** Whether the process is gone, waiting for it up to two seconds. */
async function isGone(pid: number): Promise<boolean> {
  for (const deadline = performance.now() + 2_000; performance.now() < deadline; ) {
    try {
      // A zombie that its parent has not reaped yet counts as gone.
      if (/^State:\s+Z/m.test(await readFile(`/proc/${pid}/status`, "utf8"))) return true;
    } catch {
      return true;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return false;
}

test("a fake nvidia-smi on the PATH is found by the real probe, argv only and in the C locale", async () => {
  await writeFile(join(folder, "table.csv"), fixture("nvidia-smi-query-4xL40S.csv"));
  await tool("nvidia-smi", `echo "$LC_ALL $LANG $#" > ${folder}/called; cat ${folder}/table.csv`);
  const node = await detectDevices({ plugins: builtinPlugins, probe: probeHere(), environment: {}, nodeName: "n" });
  expect(node.counts).toEqual({ GPU: 4 });
  expect(await readFile(join(folder, "called"), "utf8")).toBe("C C 2\n");
});

test("arguments reach the tool as they are: no shell", async () => {
  await tool("echo-args", 'printf "%s|" "$@"');
  const { stdout } = await probeHere().run(["echo-args", "$(id)", "; rm -rf /", "a b"]);
  expect(stdout).toBe("$(id)|; rm -rf /|a b|");
});

describe("F35: a hanging tool", () => {
  test("is killed at the limit with its children, and its devices are unknown", async () => {
    await tool("nvidia-smi", `trap '' TERM; sleep 600 & echo $$ $! > ${folder}/pids; wait`);
    const found = await nvidia.fingerprint(probeHere({ limitMs: 300 }));
    expect(found).toMatchObject({ state: "unknown", devices: [], error: { code: "PROBE_TIMEOUT" } });
    expect(found.error?.message).toContain("killed after 300 ms");
    const pids = (await readFile(join(folder, "pids"), "utf8")).trim().split(" ").map(Number);
    expect(await Promise.all(pids.map(isGone))).toEqual([true, true]);
  });

  test("keeps the last known devices, stale", async () => {
    await writeFile(join(folder, "table.csv"), fixture("nvidia-smi-query-4xL40S.csv"));
    await tool("nvidia-smi", `if [ -e ${folder}/hang ]; then exec sleep 600; fi; cat ${folder}/table.csv`);
    const probe = probeHere({ limitMs: 1_000 });
    const first = await nvidia.fingerprint(probe);
    await writeFile(join(folder, "hang"), "");
    const second = refreshFingerprint(first, await nvidia.fingerprint(probe));
    expect(second).toMatchObject({
      state: "ok",
      stale: true,
      devices: { length: 4 },
      error: { code: "PROBE_TIMEOUT" },
    });
  });

  test("is killed when the caller gives up", async () => {
    await tool("slow", `echo $$ > ${folder}/pids; exec sleep 600`);
    const controller = new AbortController();
    const running = probeHere().run(["slow"], controller.signal);
    setTimeout(() => controller.abort(), 100);
    expect(await running).toMatchObject({ end: "aborted", exitCode: null });
    expect(await probeHere().run(["slow"], controller.signal)).toMatchObject({ end: "aborted", elapsedMs: 0 });
  });
});

test("F35: a tool that cannot die is answered for at the limit, and not run again until it is gone", async () => {
  await tool("undying", `echo run >> ${folder}/runs; exec sleep 600`);
  const unkillable: ChildProcess[] = [];
  const probe = probeHere({ limitMs: 300, kill: (child) => unkillable.push(child) });
  expect((await probe.run(["undying"])).end).toBe("timeout");
  expect(await probe.run(["undying"])).toMatchObject({ end: "stuck", elapsedMs: 0 });
  const [child] = unkillable;
  const gone = once(child!, "exit");
  child!.kill("SIGKILL");
  await gone;
  await tool("undying", "echo well");
  expect(await probe.run(["undying"])).toMatchObject({ end: "exited", stdout: "well\n" });
  expect(await readFile(join(folder, "runs"), "utf8")).toBe("run\n");
});

test("a child that left the tool's session and holds its pipes does not hold up the answer", async () => {
  await tool("setsid-leaver", `setsid sh -c 'echo $$ > ${folder}/pids; exec sleep 600' & sleep 0.2; echo done`);
  expect(await probeHere().run(["setsid-leaver"])).toMatchObject({ end: "exited", exitCode: 0, stdout: "done\n" });
  const pid = Number(await readFile(join(folder, "pids"), "utf8"));
  process.kill(pid, "SIGKILL");
  expect(await isGone(pid)).toBe(true);
});

test("tools inherit the environment without our own variables", async () => {
  await tool("show-env", "env");
  const environment = {
    PATH: `${folder}:/usr/bin:/bin`,
    LD_LIBRARY_PATH: "/driver",
    WHIPRAY_TOKEN: "secret",
    LC_ALL: "zh_CN",
  };
  const lines = (await probeHere({ environment }).run(["show-env"])).stdout.split("\n");
  expect(lines).toEqual(expect.arrayContaining(["LD_LIBRARY_PATH=/driver", "LC_ALL=C"]));
  expect(lines.join()).not.toContain("secret");
});

test("B39: a tool that prints without end is killed at the output limit", async () => {
  await tool("flood", "exec yes 0123456789");
  const outcome = await probeHere().run(["flood"]);
  expect(outcome.end).toBe("flooded");
  expect(outcome.stdout).toHaveLength(1_048_576);
});

test("a tool that ends while its child holds the pipe is answered with what it said, and the child is killed", async () => {
  await tool("leaver", `sleep 600 & echo $! > ${folder}/pids; echo done`);
  expect(await probeHere().run(["leaver"])).toMatchObject({ end: "exited", exitCode: 0, stdout: "done\n" });
  expect(await isGone(Number(await readFile(join(folder, "pids"), "utf8")))).toBe(true);
});

test("exit codes and signals are told with the first line of what the tool said", async () => {
  await tool("fails", "echo 'no driver' >&2; exit 9");
  await tool("dies", "kill -SEGV $$");
  const probe = probeHere();
  expect(await probe.run(["fails"])).toMatchObject({ end: "exited", exitCode: 9 });
  expect((await probe.run(["fails"])).message).toMatch(/ended with exit code 9 and said "no driver"$/);
  expect((await probe.run(["dies"])).message).toContain("SIGSEGV");
});

test("the PATH is searched once, absolute folders only; a tool that cannot run never rejects", async () => {
  const probe = probeHere({ environment: { PATH: `.:bin::${folder}` } });
  expect(await probe.run(["later"])).toMatchObject({ end: "missing", message: "later is not on the PATH" });
  await tool("later", "echo here");
  expect((await probe.run(["later"])).end).toBe("missing");
  expect((await probeHere().run(["later"])).stdout).toBe("here\n");
  expect((await probeHere().run(["./later"])).end).toBe("missing");
  expect((await probeHere().run([join(folder, "later")])).stdout).toBe("here\n");
  await writeFile(join(folder, "broken"), "#!/no/such/interpreter\n");
  await chmod(join(folder, "broken"), 0o755);
  expect((await probeHere().run(["broken"])).end).toBe("failed");
  expect((await probeHere().run(["later", "nul\0byte"])).end).toBe("failed");
});

test("folders and small files are read under the root; what is missing is empty, what is closed is unknown", async () => {
  await mkdir(join(folder, "dev/davinci7"), { recursive: true });
  await writeFile(join(folder, "dev/davinci0"), "x".repeat(70_000));
  const probe = probeHere();
  const { entries } = await probe.list("/dev");
  expect(new Map(entries?.map(({ name, kind }) => [name, kind]))).toEqual(
    new Map([
      ["davinci0", "file"],
      ["davinci7", "directory"],
    ]),
  );
  expect(await probe.list("/sys")).toEqual({ entries: [], message: "" });
  expect((await probe.list("/dev/davinci0")).entries).toBeUndefined();
  expect(await probe.read("/dev/davinci0")).toHaveLength(65_536);
  expect(await probe.read("/dev/none")).toBeUndefined();
  const kinds = await systemProbe().list("/dev");
  expect(kinds.entries).toContainEqual({ name: "null", kind: "character" });
});
