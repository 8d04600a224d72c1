import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { builtinsByName } from "../pack/bundles.ts";
import { type Program, runProgram } from "../pack/programs.ts";
import { faultsOf } from "../pack/published.ts";
import { filesBelow, staleOutputs } from "../pack/tarballs.ts";
import type { Workbench } from "../stages/stage.ts";
import { runTool } from "../stages/tool.io.ts";

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});
function scratch(): string {
  const folder = mkdtempSync(join(tmpdir(), "pack-"));
  folders.push(folder);
  return folder;
}

test("what a source imports of Node is taken from the module by name; types, packages and line numbers stay as they are", () => {
  const kept =
    'import type { Socket } from "node:net";\nimport { type Stats } from "node:fs";\nimport { pack } from "msgpackr";\n';
  expect(builtinsByName(kept)).toBe(kept);
  expect(builtinsByName('import { inspect as show, type T, types } from "node:util";\nshow;')).toBe(
    'const { inspect: show, types } = process.getBuiltinModule("node:util");\nshow;',
  );
  expect(builtinsByName('import {\n  a,\n  b,\n} from "node:fs/promises";\nx')).toBe(
    'const { a, b } = process.getBuiltinModule("node:fs/promises");\n\n\n\nx',
  );
});

const MANIFEST = JSON.stringify({
  bin: { tool: "./dist/main.js" },
  exports: { ".": { types: "./dist/index.d.ts", default: "./dist/index.js" }, "./package.json": "./package.json" },
  dependencies: { ws: "8.0.0", "node-pty": "npm:@lydell/node-pty@1.1.0" },
});
const FILES = ["package.json", "LICENSE", "README.md", "dist/main.js", "dist/index.js", "dist/index.js.map"];
const good = {
  name: "p",
  files: [...FILES, "dist/index.d.ts", "src/a/b.ts", "python/host/run.py"],
  manifest: MANIFEST,
};

test("a package with its build, its sources and the engine host has no faults", () => {
  expect(faultsOf(good)).toEqual([]);
});

test.each([
  "python/tests/test_host.py",
  "python/host/__pycache__/run.cpython-313.pyc",
  "dist/.tsbuildinfo",
  "test/a.ts",
  ".env",
])("%s is not published", (path) =>
  expect(faultsOf({ ...good, files: [...good.files, path] })).toEqual([`p: ${path} must not be published`]),
);

test("workspace protocols and entries without a file are faults", () => {
  const manifest = MANIFEST.replace("8.0.0", "workspace:*");
  const files = good.files.filter((path) => path !== "dist/main.js");
  expect(faultsOf({ ...good, files, manifest })).toEqual([
    "p: package.json has a dependency that only the workspace understands",
    "p: package.json points at dist/main.js, which is not in the package",
  ]);
});

test("output whose source is gone is stale; all else in dist stays", () => {
  const built = [
    "a.js",
    "a.js.map",
    "a.d.ts",
    "a.d.ts.map",
    "b/c.io.js",
    "b/c.io.d.ts",
    "gone.js",
    "gone.d.ts.map",
    ".tsbuildinfo",
  ];
  expect(staleOutputs(["a.ts", "b/c.io.ts", "ambient.d.ts"], built)).toEqual(["gone.js", "gone.d.ts.map"]);
  expect(staleOutputs([], [])).toEqual([]);
});

test("files below a folder are relative to it; a missing folder has none", () => {
  const folder = scratch();
  mkdirSync(join(folder, "a/b"), { recursive: true });
  writeFileSync(join(folder, "a/b/c.txt"), "");
  expect(filesBelow(folder)).toEqual(["a/b/c.txt"]);
  expect(filesBelow(join(folder, "nowhere"))).toEqual([]);
});

test("a program passes by saying exactly what it should; more output, a failure and a file left behind are told", async () => {
  const app = scratch();
  const bench: Workbench = {
    ...{ root: app, scratch: app },
    tool: (command) => runTool({ cwd: app, env: {}, ...command }),
  };
  const run = (command: string) => {
    const program: Program = { name: "it", command, says: /^ok\n$/ };
    return runProgram(bench, { bin: "/nowhere", app, scratch: scratch() }, program, "run-p", 0);
  };
  expect(await run("echo ok")).toMatchObject({ passed: 1, failed: 0 });
  expect(await run("echo ok; echo a warning >&2")).toMatchObject({ passed: 0, failed: 1 });
  expect(await run("echo ok; exit 3")).toMatchObject({ passed: 0, failed: 1 });
  const left = await run('echo ok; echo secret > "$TMPDIR/forgotten"');
  expect(left.failed).toBe(1);
  expect(left.output).toMatch(/file .*\/t\/forgotten/);
});
