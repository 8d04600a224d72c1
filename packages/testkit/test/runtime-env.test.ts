import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { RayScheduler } from "@whipray/scheduler";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import type { Cluster, RuntimeEnv } from "whipray";
import { describeLeaks } from "../src/leak-check.ts";
import type { RealCluster } from "../src/real-cluster.io.ts";
import { needNamespaces, rayletAt, skipBecause, startStage, task } from "./stage.ts";

// Code travels: the project lies in the near machine's working directory, which the far machine cannot see.
const TEST_MS = 60_000;
let real: RealCluster;
let cluster: Cluster;
let scheduler: RayScheduler;

const near = (name: string): string => join(rayletAt(real, "near").cwd, name);
/** A path of the far machine, as this process sees it. */
const far = (name: string): string => `/proc/${rayletAt(real, "far").pid}/root${join(rayletAt(real, "far").cwd, name)}`;

function write(path: string, content: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
}

beforeAll(async () => {
  real = await startStage();
  cluster = await real.connect({ namespace: "runtime-env" });
}, TEST_MS);

beforeEach((context) => {
  needNamespaces(context, real);
  scheduler = new RayScheduler({ cluster, destroyTimeoutMs: 2_000 });
});

afterEach(async () => {
  await scheduler?.[Symbol.asyncDispose]();
}, TEST_MS);

afterAll(async () => {
  expect(describeLeaks((await real?.stop()) ?? [])).toBe("");
}, TEST_MS);

const FAR = { resources: { far: 0.25 }, numCpus: 0 };

interface Guide {
  tell(): { greeting: string; mark: string | undefined; cwd: string; data: string; url: string };
}

function writeProject(name: string): URL {
  write(
    near(`${name}/src/guide.mjs`),
    `import { readFileSync } from "node:fs";
import { greeting } from "../lib/words.mjs";
export class Guide {
  tell() {
    return tell();
  }
}
export function tell() {
  const data = readFileSync("data.txt", "utf8");
  return { greeting, mark: process.env.MARK, cwd: process.cwd(), data, url: import.meta.url };
}
`,
  );
  write(near(`${name}/lib/words.mjs`), `export const greeting = "hello from ${name}";\n`);
  write(near(`${name}/data.txt`), `data of ${name}`);
  write(near(`${name}/big.log`), "x");
  return pathToFileURL(near(`${name}/src/guide.mjs`));
}

test(
  "Ray: working_dir and env_vars: an actor and a task run on a machine that has none of their files, in a copy of the directory",
  async () => {
    const url = writeProject("tour");
    const runtimeEnv: RuntimeEnv = { workingDir: near("tour"), envVars: { MARK: "set" }, excludes: ["*.log"] };
    const told = { greeting: "hello from tour", mark: "set", data: "data of tour" };
    const actor = await cluster
      .actor<Guide>(url, "Guide")
      .options({ ...FAR, runtimeEnv })
      .create();
    const there = await actor.tell();
    expect(there).toMatchObject(told);
    expect(there.cwd).not.toBe(near("tour"));
    expect(there.url).toBe(pathToFileURL(join(there.cwd, "src/guide.mjs")).href);
    const tell = cluster.task<Guide["tell"]>(url, "tell").options({ ...FAR, runtimeEnv });
    expect(await tell()).toMatchObject({ ...told, cwd: there.cwd });
    // Where the files are, they are what is loaded; the working directory is a copy there too.
    const here = { resources: { near: 0.25 }, numCpus: 0, runtimeEnv };
    const beside = await cluster.actor<Guide>(url, "Guide").options(here).create();
    expect(await beside.tell()).toMatchObject({ ...told, url: url.href });
    // Without it the node says what it lacks, and how to bring it.
    const bare = cluster.task<Guide["tell"]>(url, "tell").options(FAR);
    await expect(bare()).rejects.toMatchObject({
      code: "CODE_MISMATCH",
      message: expect.stringContaining("runtimeEnv.workingDir"),
    });
    await Promise.all([cluster.kill(actor), cluster.kill(beside)]);
  },
  TEST_MS,
);

test(
  "Ray: the runtime_env of init is around all that the program makes; init itself fails when its directory is missing",
  async () => {
    const url = writeProject("job");
    const env: RuntimeEnv = { workingDir: near("job"), envVars: { MARK: "job" } };
    await expect(real.connect({ runtimeEnv: { workingDir: near("nowhere") } })).rejects.toMatchObject({
      code: "INVALID_PATH",
    });
    const program = await real.connect({ runtimeEnv: env });
    const actor = await program.actor<Guide>(url, "Guide").options(FAR).create();
    expect(await actor.tell()).toMatchObject({ greeting: "hello from job", mark: "job", data: "data of job" });
    const tell = program.task<Guide["tell"]>(url, "tell").options({ ...FAR, runtimeEnv: { envVars: { MARK: "own" } } });
    expect(await tell()).toMatchObject({ mark: "own", data: "data of job" });
    await program.close();
  },
  TEST_MS,
);

test(
  "a runtime environment that cannot be: by the caller at once, by the node as RuntimeEnvSetupError or INVALID_ENV",
  async () => {
    const url = writeProject("wrong");
    const make = (runtimeEnv: RuntimeEnv) =>
      cluster
        .actor<Guide>(url, "Guide")
        .options({ ...FAR, runtimeEnv })
        .create();
    await expect(make({ workingDir: near("nowhere") })).rejects.toMatchObject({ code: "INVALID_PATH" });
    const lost = cluster
      .task<Guide["tell"]>(url, "tell")
      .options({ ...FAR, runtimeEnv: { workingDir: near("nowhere") } });
    await expect(lost()).rejects.toMatchObject({ code: "INVALID_PATH" });
    for (const name of ["WHIPRAY_TOKEN_FILE", "LD_PRELOAD", "A=B"]) {
      const actor = await make({ envVars: { [name]: "1" } });
      await expect(actor.tell()).rejects.toMatchObject({ code: "ACTOR_DIED", cause: { code: "INVALID_ENV" } });
    }
    // What the module imports lies outside of what was packed.
    const outside = await make({ workingDir: near("wrong/src") });
    await expect(outside.tell()).rejects.toMatchObject({
      cause: { code: "CODE_MISMATCH", message: expect.stringMatching(/words\.mjs.*does not exist on/s) },
    });
  },
  TEST_MS,
);

test(
  "Ray: py_modules and py_executable: an engine imports what was shipped to its machine, in the interpreter that was asked for",
  async () => {
    write(near("py/greeting/__init__.py"), "");
    write(
      near("py/greeting/engine.py"),
      `import os, greeting_words
class Engine:
    def tell(self):
        return [greeting_words.WORDS, os.environ.get("INTERPRETER", ""), os.environ.get("MARK", ""), os.getcwd()]
`,
    );
    write(near("py/greeting_words.py"), 'WORDS = "hello from afar"\n');
    writeProject("engine");
    const python = far("python.sh");
    write(python, '#!/bin/sh\nexport INTERPRETER=mine\nexec python3 "$@"\n');
    chmodSync(python, 0o755);
    const runtimeEnv: RuntimeEnv = {
      workingDir: near("engine"),
      pyModules: [near("py/greeting"), near("py/greeting_words.py")],
      pyExecutable: join(rayletAt(real, "far").cwd, "python.sh"),
      envVars: { MARK: "set" },
    };
    const [id] = (await scheduler.createWorkers({
      role: "guide",
      replicas: 1,
      tasks: [{ ...task("far"), runtimeEnv }],
    })) as [string];
    await scheduler.createEngine(id, "greeting.engine.Engine");
    const [words, interpreter, mark, cwd] = (await scheduler.callEngine(id, "tell")) as string[];
    expect([words, interpreter, mark]).toEqual(["hello from afar", "mine", "set"]);
    expect(cwd).toMatch(/packages\/[0-9a-f]{64}$/);
  },
  TEST_MS,
);

interface Parent {
  children(): Promise<string[]>;
}

test(
  "Ray: a child inherits the runtime environment; its module is found in the copy, dependencies beside the same lockfile on the node",
  async () => {
    const lock = "lockfileVersion: test\n";
    write(near("family/pnpm-lock.yaml"), lock);
    writeFileSync(far("pnpm-lock.yaml"), lock);
    symlinkSync(fileURLToPath(new URL("../node_modules", import.meta.url)), far("node_modules"));
    write(
      near("family/child.mjs"),
      `export class Child { cwd() { return "actor " + process.cwd(); } }
export const cwd = () => "task " + process.cwd();
`,
    );
    write(
      near("family/parent.mjs"),
      `import { currentCluster } from "whipray";
const child = new URL("./child.mjs", import.meta.url);
export class Parent {
  async children() {
    const cluster = currentCluster();
    const places = [{ far: 0.1 }, { near: 0.1 }].map((resources) => ({ resources, numCpus: 0 }));
    const actors = await Promise.all(places.map((place) => cluster.actor(child, "Child").options(place).create()));
    const tasks = places.map((place) => cluster.task(child, "cwd").options(place)());
    return Promise.all([...actors.map((actor) => actor.cwd()), ...tasks, process.cwd()]);
  }
}
`,
    );
    const url = pathToFileURL(near("family/parent.mjs"));
    const runtimeEnv: RuntimeEnv = { workingDir: near("family") };
    const parent = await cluster
      .actor<Parent>(url, "Parent")
      .options({ ...FAR, runtimeEnv })
      .create();
    const [actorFar, actorNear, taskFar, taskNear, own] = await parent.children();
    expect([actorFar, taskFar]).toEqual([`actor ${own}`, `task ${own}`]);
    for (const place of [actorNear, taskNear]) expect(place).toMatch(/packages\/[0-9a-f]{64}$/);
    expect(actorNear).not.toBe(actorFar);
    await cluster.kill(parent);
  },
  TEST_MS,
);

/** A wheel with one module, written by hand: installing it needs no index. */
function writeWheel(path: string, module: string, source: string): void {
  const script = `import sys, zipfile
path, name, source = sys.argv[1:]
info = f"{name}-1.0.dist-info"
with zipfile.ZipFile(path, "w") as wheel:
    wheel.writestr(f"{name}.py", source)
    wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\\nName: {name}\\nVersion: 1.0\\n")
    wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    wheel.writestr(f"{info}/RECORD", "")
`;
  execFileSync("python3", ["-c", script, path, module, source]);
}

test(
  "Ray: pip: an engine runs in an environment of its own, made once a node; uv that is not there, or cannot install, says so",
  async (context) => {
    const { status } = spawnSync("python3", ["-c", "import ensurepip, venv"]);
    if (status !== 0) skipBecause(context, "this machine's python3 has no ensurepip to make virtual environments with");
    const wheel = "parrot-1.0-py3-none-any.whl";
    writeWheel(far(wheel), "parrot", "def speak(): return 'hello from a wheel'\n");
    write(
      near("py/pip_engine.py"),
      `import sys, parrot
class Engine:
    def tell(self):
        return [parrot.speak(), sys.prefix]
`,
    );
    const pip = [join(rayletAt(real, "far").cwd, wheel)];
    const create = async (role: string, runtimeEnv: RuntimeEnv): Promise<string> => {
      const tasks = [{ ...task("far"), resources: { far: 0.25 }, runtimeEnv }];
      const [id] = (await scheduler.createWorkers({ role, replicas: 1, tasks })) as [string];
      await scheduler.createEngine(id, "pip_engine.Engine");
      return id;
    };
    const pyModules = [near("py/pip_engine.py")];
    const ids = await Promise.all(["one", "two"].map((role) => create(role, { pyModules, pip })));
    const [one, two] = (await Promise.all(ids.map((id) => scheduler.callEngine(id, "tell")))) as [string[], string[]];
    expect(one[0]).toBe("hello from a wheel");
    expect(two).toEqual(one);
    const failed = await cluster
      .actor<Guide>(writeProject("pip"), "Guide")
      .options({ ...FAR, runtimeEnv: { workingDir: near("pip"), uv: ["/nowhere/nothing-1.0-py3-none-any.whl"] } })
      .create();
    await expect(failed.tell()).rejects.toMatchObject({
      code: "ACTOR_DIED",
      cause: {
        code: "RUNTIME_ENV_SETUP_FAILED",
        cause: { code: expect.stringMatching(/^(TOOL_MISSING|INSTALL_FAILED)$/) },
      },
    });
  },
  3 * TEST_MS,
);
