import { expect, test } from "vitest";
import { relativeImports } from "../src/relative-imports.ts";

test.each([
  [`import { a } from "./a.ts";`, ["./a.ts"]],
  [`import a from '../up/a.js'`, ["../up/a.js"]],
  [`import {\n  a,\n  b,\n} from "./a.js";`, ["./a.js"]],
  [`import"./effect.mjs";import*as b from"./b.mjs"`, ["./effect.mjs", "./b.mjs"]],
  [`export * from "./a.ts"; export { b } from './b.ts';`, ["./a.ts", "./b.ts"]],
  [`const a = await import("./a.js"); const b = require( './b' );`, ["./a.js", "./b"]],
  [`import data from "./data.json" with { type: "json" };`, ["./data.json"]],
  [`import { a, type B } from "./a.ts";`, ["./a.ts"]],
  [`import type from "./type.js";`, ["./type.js"]],
  [`import "./a.js";\nimport "./a.js";`, ["./a.js"]],
  [`import type { A } from "./a.ts";\nimport { b } from "./b.ts";\nexport type { C } from "./c.ts";`, ["./b.ts"]],
  [`import type A from "./a.ts";\nexport type B = string;\nimport "./b.ts";`, ["./b.ts"]],
  [`import fs from "node:fs"; import x from "package"; import y from "#inside"; import z from "/absolute.js";`, []],
  [`import type * as A from "./a.ts"; export type * from "./b.ts"; import * as c from "./c.ts";`, ["./c.ts"]],
  [`const text = "./a.ts"; from("./b.ts" + name);`, ["./b.ts"]],
])("%s", (source, expected) => {
  expect(relativeImports(source)).toEqual(expected);
});

test("a source of a megabyte that is all but an import is looked through in no time", () => {
  const source = `${"import type ".repeat(20_000)}${"from ".repeat(100_000)}${"import type { A ".repeat(20_000)}${`import${" ".repeat(1_000)}`.repeat(100)}`;
  expect(relativeImports(source)).toEqual([]);
}, 5_000);
