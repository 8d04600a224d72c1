import { expect, test } from "vitest";
import { arrows } from "../tidy/arrows.ts";
import { findings, manifest, places } from "./planted-tree.ts";

const core = { "packages/core/src/index.ts": "export const a = 1;" };

test("an import down the arrows by package name is fine", () => {
  const files = { ...core, "packages/head/src/x.ts": 'import { a } from "@x/core";', "packages/core/src/y.ts": "" };
  expect(findings(arrows, { ...files, "packages/core/package.json": JSON.stringify(manifest("core", [])) })).toEqual(
    [],
  );
});

test("an import against the arrows is found, also when type only, dynamic or declared", () => {
  const files = {
    "packages/core/src/x.ts": 'import type { h } from "@x/head";\nconst b = await import("@x/head");',
    "packages/core/package.json": JSON.stringify(manifest("core", ["head"])),
    "packages/head/src/index.ts": "",
  };
  expect(places(findings(arrows, files))).toEqual([
    "packages/core/package.json",
    "packages/core/src/x.ts:1",
    "packages/core/src/x.ts:2",
  ]);
});

test("tests may look sideways in their layer, sources may not", () => {
  const declared = { name: "@x/cli", devDependencies: { "@x/testkit": "workspace:*" } };
  const sources = { "packages/testkit/src/index.ts": "", "packages/cli/package.json": JSON.stringify(declared) };
  const test = { "packages/cli/test/x.test.ts": 'import { t } from "@x/testkit";' };
  expect(findings(arrows, { ...sources, ...test })).toEqual([]);
  const source = { "packages/cli/src/x.ts": 'import { t } from "@x/testkit";' };
  expect(places(findings(arrows, { ...sources, ...source }))).toEqual(["packages/cli/src/x.ts:1"]);
});

test("another package's file path is found, whether by relative path, by subpath or by URL", () => {
  const head = [
    'import { a } from "../../core/src/index.ts";',
    'import { b } from "@x/core/src/index.ts";',
    'new URL("../../core/python/x.py", import.meta.url);',
    'import own from "@x/head";',
  ].join("\n");
  const core = { "packages/core/package.json": JSON.stringify(manifest("core", [])) };
  const found = findings(arrows, { ...core, "packages/head/src/x.ts": head });
  expect(places(found)).toEqual([1, 2, 3, 4].map((line) => `packages/head/src/x.ts:${line}`));
  const pathImports = [{ files: "packages/head/src/*.ts", reason: "planted" }];
  expect(findings(arrows, { ...core, "packages/head/src/x.ts": head }, { pathImports })).toHaveLength(2);
});

test("a dependency that package.json does not declare is found; a test may use the root's", () => {
  const root = { "package.json": JSON.stringify({ devDependencies: { vitest: "1" } }) };
  const text = 'import { a } from "vitest";';
  const files = { ...core, ...root, "packages/core/src/x.ts": text, "packages/core/test/x.test.ts": text };
  const own = { "packages/core/package.json": JSON.stringify(manifest("core", [])) };
  expect(places(findings(arrows, { ...files, ...own }))).toEqual(["packages/core/src/x.ts:1"]);
});

test("Python modules keep to the arrows too; a package's own and the standard library are free", () => {
  const files = {
    ...core,
    "packages/core/package.json": JSON.stringify(manifest("core", [])),
    "packages/head/python/head_engine/__init__.py": "import os, head_guard\nfrom . import x",
    "packages/head/python/head_guard.py": "",
    "packages/core/python/core_tool.py":
      "import os\n\ndef f():\n    from head_engine.x import y\n    import head_guard",
    "packages/head/python/tests/torch.py": "",
    "packages/core/test/torch_user.py": "import torch\nimport head_guard as g",
    "packages/head/python/head_tool.py": "import core_tool",
  };
  expect(places(findings(arrows, files))).toEqual([
    "packages/core/python/core_tool.py:4",
    "packages/core/python/core_tool.py:5",
    "packages/core/test/torch_user.py:2",
  ]);
});

test("a package in no layer is found", () => {
  expect(findings(arrows, { "packages/new/src/index.ts": "" })).toEqual([
    { file: "tidy.json", message: "layers: packages/new is in no layer" },
  ]);
});
