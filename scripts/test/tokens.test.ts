import fc from "fast-check";
import { expect, test } from "vitest";
import { codeLines } from "../tidy/code-lines.ts";
import { importsOf } from "../tidy/imports.ts";
import { scan } from "../tidy/tokens.ts";

const kinds = (source: string): string[] => scan(source).map(({ kind, text }) => `${kind} ${text}`);
const code = (source: string): string =>
  codeLines(scan(source))
    .map(({ text }) => text)
    .join("\n");

test("strings, templates, comments and regular expressions are told apart from code", () => {
  expect(kinds(`a("b//c") // d`)).toEqual(["code a(", "string b//c", "code ) ", "comment // d"]);
  expect(kinds("`x ${f({ y: `z` })} w`")).toEqual([
    "template x ",
    "code f({ y: ",
    "template z",
    "code  })",
    "template  w",
  ]);
  expect(kinds(`x = /["'/]/.test(y) / 2`)).toEqual(["code x = ", `regex /["'/]/`, "code .test(y) / 2"]);
  expect(kinds("/* a\n*/b")).toEqual(["comment /* a\n*/", "code b"]);
});

test("a token knows its line", () => {
  const source = 'a\n/* b\nc */ "d"\n`e\n${f}`';
  expect(scan(source).map(({ kind, line }) => [kind, line])).toEqual([
    ["code", 1],
    ["comment", 2],
    ["code", 3],
    ["string", 3],
    ["code", 3],
    ["template", 4],
    ["code", 5],
    ["template", 5],
  ]);
});

test("any text scans to an end", () => {
  fc.assert(
    fc.property(
      fc.string({ unit: fc.constantFrom("`", "$", "{", "}", "/", "*", '"', "'", "\\", "\n", "a", "[") }),
      (text) => {
        expect(scan(text).length).toBeLessThanOrEqual(text.length * 2 + 1);
      },
    ),
  );
});

test("what stands in strings and comments is no code", () => {
  expect(code('x("process.exit") // process.exit\n/* process.exit */ y')).toBe('x("") \n y');
});

test("imports are found in every form, and texts that look like one are not", () => {
  const source = [
    'import { a } from "one";',
    'import type { B } from "two";',
    'import "three";',
    'export * from "four";',
    'import {\n  c,\n  type D,\n} from "five";',
    'const e = await import("six");',
    'new Worker(new URL("./seven.ts", import.meta.url));',
    `const text = 'import { a } from "eight"'; // import "nine";`,
    'call("ten");',
  ].join("\n");
  expect(importsOf(scan(source)).map(({ specifier, typeOnly, url, line }) => [specifier, typeOnly, url, line])).toEqual(
    [
      ["one", false, false, 1],
      ["two", true, false, 2],
      ["three", false, false, 3],
      ["four", false, false, 4],
      ["five", false, false, 8],
      ["six", false, false, 9],
      ["./seven.ts", false, true, 10],
    ],
  );
});
