import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { RuntimeEnvSetupError, SimulatedClock, settle, silentLogger } from "@whipray/core";
import { kvGet, type Package, packMembers, type RuntimeEnvSpec } from "@whipray/rpc";
import { describe, expect, test } from "vitest";
import { KeepCache } from "../src/keep-cache.ts";
import { packageFolders } from "../src/package-folders.io.ts";
import { MemoryPackageFolders } from "../src/package-folders.ts";
import { RuntimeEnvs } from "../src/runtime-envs.ts";
import { FakeNetwork } from "./fake-endpoint.ts";
import { temporaryFolder } from "./temporary-folder.ts";

const signal = new AbortController().signal;
const packed = (text: string): Promise<Package> =>
  packMembers([{ path: "a.mjs", content: Buffer.from(text), executable: false }]);

/** A node, and a head with these packages. */
function node(packages: readonly Package[], cache?: KeepCache) {
  const network = new FakeNetwork();
  const asked: string[] = [];
  let gate: Promise<void> | undefined;
  network.endpoint("head/head", "head").serve(kvGet, async ({ key }) => {
    asked.push(key);
    await gate;
    const found = packages.find(({ hash }) => key === hash || key === `${hash}/0`);
    if (!found) return {};
    return { value: key === found.hash ? Buffer.from("1") : Buffer.from(found.bytes) };
  });
  const clock = new SimulatedClock();
  const folders = new MemoryPackageFolders();
  const installs: AbortSignal[] = [];
  const venvs = {
    async make(_ask: unknown, until: AbortSignal): Promise<string> {
      installs.push(until);
      await gate;
      until.throwIfAborted();
      return "/venvs/a/bin/python";
    },
    async remove() {},
  };
  const endpoint = network.endpoint("node_a/raylet", "raylet");
  const envs = new RuntimeEnvs({
    ...{ endpoint, headUrl: "ws://head", nodeId: "node_a", clock, logger: silentLogger, folders, venvs },
    ...(cache && { cache }),
  });
  const hold = (until: Promise<void>): void => {
    gate = until;
  };
  return { envs, folders, asked, clock, hold, installs };
}

const inDirectory = (hash: string, more: Partial<RuntimeEnvSpec> = {}): RuntimeEnvSpec => ({
  workingDir: { hash, origin: "/home/me/project" },
  setupTimeoutMs: 1_000,
  ...more,
});

describe("runtime environments of a node", () => {
  test("a package is fetched and unpacked once, however many ask, and kept for the next", async () => {
    const code = await packed("one");
    const { envs, folders, asked } = node([code]);
    const made = await Promise.all(
      [1, 2, 3].map(() => envs.prepare(inDirectory(code.hash, { pyModules: [code.hash] }), signal)),
    );
    const path = `/packages/${code.hash}`;
    expect(made[0]).toMatchObject({ workingCopy: { origin: "/home/me/project", path }, pythonPath: [path] });
    for (const one of made) one.release();
    await envs.prepare(inDirectory(code.hash), signal);
    expect([asked.length, [...folders.folders.keys()]]).toEqual([2, [code.hash]]);
    expect(await envs.prepare(undefined, signal)).toMatchObject({ pythonPath: [] });
  });

  test("what fails is RuntimeEnvSetupError with its cause, and is tried again by the next", async () => {
    const code = await packed("one");
    const packages: Package[] = [];
    const { envs } = node(packages);
    const failed = await envs.prepare(inDirectory(code.hash), signal).catch((error: unknown) => error);
    expect(failed).toBeInstanceOf(RuntimeEnvSetupError);
    expect(failed).toMatchObject({ code: "RUNTIME_ENV_SETUP_FAILED", cause: { code: "PACKAGE_NOT_FOUND" } });
    packages.push({ hash: code.hash, bytes: (await packed("two")).bytes });
    await expect(envs.prepare(inDirectory(code.hash), signal)).rejects.toMatchObject({
      cause: { code: "UNSAFE_ARCHIVE" },
    });
    packages.splice(0, 1, code);
    expect((await envs.prepare(inDirectory(code.hash), signal)).workingCopy).toBeDefined();
  });

  test("Ray: setup_timeout_seconds ends what takes too long; so does the end of who asked", async () => {
    const code = await packed("one");
    const { envs, clock, hold } = node([code]);
    const gate = Promise.withResolvers<void>();
    hold(gate.promise);
    const late = envs.prepare(inDirectory(code.hash), signal).catch((error: unknown) => error);
    const abort = new AbortController();
    const ended = envs.prepare(inDirectory(code.hash), abort.signal).catch((error: unknown) => error);
    await settle();
    abort.abort();
    expect(await ended).toBeInstanceOf(RuntimeEnvSetupError);
    await clock.run(1_001);
    expect(await late).toMatchObject({ code: "RUNTIME_ENV_SETUP_FAILED", cause: { code: "DEADLINE_EXCEEDED" } });
    gate.resolve();
    expect((await envs.prepare(inDirectory(code.hash), signal)).workingCopy).toBeDefined();
  });

  test("Ray: pip: one install at a time for the same requirements; it is given up with the time of its first user, or with the node", async () => {
    const { envs, clock, hold, installs } = node([]);
    const packages = { tool: "pip" as const, list: ["numpy"] };
    const gate = Promise.withResolvers<void>();
    hold(gate.promise);
    const spec = { packages, setupTimeoutMs: 1_000 };
    const two = [envs.prepare(spec, signal), envs.prepare(spec, signal)].map((one) =>
      one.catch((error: unknown) => error),
    );
    await settle();
    expect(installs.length).toBe(1);
    await clock.run(1_001);
    for (const one of two) expect(await one).toMatchObject({ cause: { code: "DEADLINE_EXCEEDED" } });
    expect(installs[0]!.aborted).toBe(true);
    gate.resolve();
    await settle();
    expect(await envs.prepare(spec, signal)).toMatchObject({ python: "/venvs/a/bin/python" });
    expect(installs.length).toBe(2);
    hold(new Promise(() => {}));
    const other = envs.prepare({ ...spec, python: "python3.13" }, signal).catch((error: unknown) => error);
    envs.close();
    await settle();
    expect(installs[2]!.aborted).toBe(true);
    await clock.run(1_001);
    await other;
  });

  test("idle packages go when they are more than the limit, the longest unused first; those in use stay", async () => {
    const [one, two, three] = await Promise.all(["1".repeat(60), "2".repeat(60), "3".repeat(60)].map(packed));
    const { envs, folders } = node([one!, two!, three!], new KeepCache(100));
    const first = await envs.prepare(inDirectory(one!.hash), signal);
    for (const { hash } of [two!, three!]) (await envs.prepare(inDirectory(hash), signal)).release();
    await settle();
    expect([...folders.folders.keys()].sort()).toEqual([one!.hash, three!.hash].sort());
    first.release();
    await settle();
    expect([...folders.folders.keys()]).toEqual([one!.hash]);
    // What was removed is fetched again.
    expect((await envs.prepare(inDirectory(two!.hash), signal)).workingCopy).toBeDefined();
  });
});

describe("folders of packages", () => {
  test("files are written with their modes, whole or not at all", async () => {
    const root = join(temporaryFolder(), "packages");
    const folders = packageFolders(root, "/");
    const file = (path: string, executable = false) => ({ path, content: Buffer.from(path), executable });
    const path = await folders.unpack("one", [file("a/b.mjs"), file("run.sh", true)]);
    expect(readFileSync(join(path, "a/b.mjs"), "utf8")).toBe("a/b.mjs");
    expect([root, join(path, "a/b.mjs"), join(path, "run.sh")].map((one) => statSync(one).mode & 0o777)).toEqual([
      0o700, 0o600, 0o700,
    ]);
    await expect(folders.unpack("two", [file("a"), file("a")])).rejects.toThrow("EEXIST");
    expect([existsSync(join(root, "two")), existsSync(join(root, "two.new"))]).toEqual([false, false]);
    await folders.remove("one");
    await folders.remove("one");
    expect(existsSync(path)).toBe(false);
  });

  test("a package's dependencies are those beside the same lockfile on the node", async () => {
    const root = temporaryFolder();
    const lock = randomUUID();
    mkdirSync(join(root, "project/node_modules"), { recursive: true });
    mkdirSync(join(root, "project/work"));
    writeFileSync(join(root, "project/pnpm-lock.yaml"), lock);
    const folders = packageFolders(join(root, "packages"), join(root, "project/work"));
    const unpack = (name: string, content: string) =>
      folders.unpack(name, [{ path: "pnpm-lock.yaml", content: Buffer.from(content), executable: false }]);
    expect(readlinkSync(join(await unpack("same", lock), "node_modules"))).toBe(join(root, "project/node_modules"));
    expect(existsSync(join(await unpack("other", `${lock}x`), "node_modules"))).toBe(false);
  });
});
