import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import type { ActorSpec } from "@whipray/rpc";
import { describe, expect, onTestFinished, test } from "vitest";
import { moduleCode } from "../src/module-code.io.ts";
import { loadActorClass } from "../src/module-loader.io.ts";

const SOURCE =
  "export class Counter { add(n) { return n + 1; } }\nexport const half = 0.5;\nglobalThis.loaded14 = true;\n";
const ADVICE = "put the same code there, or ship it as `runtimeEnv.workingDir`";
const hashOf = (text: string): string => createHash("sha256").update(text).digest("hex");

async function actorFile(source = SOURCE): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "wm-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const path = join(folder, "counter.mjs");
  await writeFile(path, source);
  return path;
}

const load = (path: string, more: Partial<ActorSpec> = {}) =>
  loadActorClass({ module: pathToFileURL(path).href, exportName: "Counter", ...more } as ActorSpec, "node_b");

describe("mechanism 14: an actor's code is the same on every node", () => {
  test("the file that the creator hashed is loaded", async () => {
    const cls = await load(await actorFile(), { codeHash: hashOf(SOURCE) });
    expect([cls.name, typeof cls.prototype.add]).toEqual(["Counter", "function"]);
  });

  test("one that differs is CODE_MISMATCH with node and path, and none of it runs", async () => {
    Reflect.deleteProperty(globalThis, "loaded14");
    const path = await actorFile(`${SOURCE}// changed\n`);
    await expect(load(path, { codeHash: hashOf(SOURCE) })).rejects.toMatchObject({
      code: "CODE_MISMATCH",
      message: `${path} differs on node_b: ${ADVICE}`,
      details: { node: "node_b", path },
    });
    expect(globalThis).not.toHaveProperty("loaded14");
  });

  test("a file that it imports and that differs is CODE_MISMATCH with its own path, and none of it runs", async () => {
    Reflect.deleteProperty(globalThis, "loaded14");
    const path = await actorFile(`import "./helper.mjs";\n${SOURCE}`);
    const helper = join(dirname(path), "helper.mjs");
    await writeFile(helper, "export {};\n");
    const code = moduleCode(path)!;
    await writeFile(helper, "export {}; // changed\n");
    await expect(load(path, code)).rejects.toMatchObject({
      code: "CODE_MISMATCH",
      message: `${helper}, which ${path} imports, differs on node_b: ${ADVICE}`,
      details: { node: "node_b", path: helper },
    });
    await rm(helper);
    await expect(load(path, code)).rejects.toMatchObject({
      code: "CODE_MISMATCH",
      message: `${helper}, which ${path} imports, does not exist on node_b: ${ADVICE}`,
    });
    expect(globalThis).not.toHaveProperty("loaded14");
  });

  test("one that is missing is CODE_MISMATCH too", async () => {
    await expect(load("/nowhere/counter.mjs", { codeHash: hashOf(SOURCE) })).rejects.toMatchObject({
      code: "CODE_MISMATCH",
      message: `/nowhere/counter.mjs does not exist on node_b: ${ADVICE}`,
    });
  });
});

test("what cannot be imported, and what exports no such class, are told apart", async () => {
  await expect(load(await actorFile("throw new Error('at import');"))).rejects.toMatchObject({
    code: "IMPORT_FAILED",
    message: expect.stringContaining("at import"),
  });
  for (const exportName of ["Missing", "half", "toString"]) {
    await expect(load(await actorFile(), { exportName })).rejects.toMatchObject({
      code: "NOT_A_CLASS",
      message: expect.stringContaining(`class ${exportName}; it exports Counter, half`),
    });
  }
});

describe("code that travelled", () => {
  test("is loaded from the copy where the node has not the same, and the first file that is not in it is named", async () => {
    const there = await actorFile();
    const origin = "/home/somebody/project";
    const module = join(origin, "counter.mjs");
    const spec = { ...moduleCode(there)!, module: pathToFileURL(module).href, exportName: "Counter" } as ActorSpec;
    const copy = { origin, path: dirname(there) };
    expect((await loadActorClass(spec, "node_b", copy)).name).toBe("Counter");
    const outside = { origin: "/home/somebody/other", path: dirname(there) };
    await expect(loadActorClass(spec, "node_b", outside)).rejects.toMatchObject({
      code: "CODE_MISMATCH",
      details: { path: module },
    });
    await expect(loadActorClass({ ...spec, codeHash: hashOf("old") }, "node_b", copy)).rejects.toMatchObject({
      code: "CODE_MISMATCH",
      details: { path: there },
    });
  });
});
