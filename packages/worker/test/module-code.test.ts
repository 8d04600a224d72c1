import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import {
  CODE_BYTES_LIMIT,
  CODE_FILES_LIMIT,
  fileHash,
  firstDifference,
  IMPORT_HASH_CHARS,
  moduleCode,
} from "../src/module-code.io.ts";

/** A folder with these files. */
function folder(files: Record<string, string>): string {
  const root = realpathSync(mkdtempSync(join(tmpdir(), "wc-")));
  onTestFinished(() => rmSync(root, { recursive: true }));
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), content);
  }
  return root;
}

/** The first file of `main.mjs` in the second folder that is not what it is in the first. */
function difference(here: Record<string, string>, there: Record<string, string>): string | undefined {
  const code = moduleCode(join(folder(here), "main.mjs"))!;
  const root = folder(there);
  return firstDifference(join(root, "main.mjs"), code)?.path.slice(root.length + 1);
}

const FILES = {
  "main.mjs": `import { a } from "./lib/a.mjs"; import "./b.cjs"; import fs from "node:fs";`,
  "lib/a.mjs": `import data from "../data.json" with { type: "json" }; import { c } from "./c.mjs"; export const a = data;`,
  "lib/c.mjs": `import "./a.mjs"; export const c = 1;`,
  "b.cjs": `require("./d"); require("./e");`,
  "d.js": "module.exports = 1;",
  "e/index.js": "module.exports = 2;",
  "data.json": "{}",
  "README.md": "none of its code",
};

test("the module, and all that it imports by relative paths, cycles included, each once", () => {
  const { codeHash, importHashes } = moduleCode(join(folder(FILES), "main.mjs"))!;
  expect(codeHash).toMatch(/^[0-9a-f]{64}$/);
  // a, b, data, c, d, e
  expect(importHashes).toHaveLength(6);
  expect(new Set(importHashes).size).toBe(6);
  expect(importHashes.every((hash) => hash.length === IMPORT_HASH_CHARS)).toBe(true);
});

test.each(["main.mjs", "lib/a.mjs", "lib/c.mjs", "b.cjs", "d.js", "e/index.js", "data.json"] as const)(
  "mechanism 14: %s that differs is named, and nothing else",
  (name) => {
    expect(difference(FILES, { ...FILES, [name]: `${FILES[name]} ` })).toBe(name);
  },
);

test("mechanism 14: of several that differ the first one is named; one that is missing counts, and one that is missing on both sides does not", () => {
  expect(difference(FILES, FILES)).toBeUndefined();
  expect(difference(FILES, { ...FILES, "README.md": "other" })).toBeUndefined();
  expect(difference(FILES, { ...FILES, "lib/c.mjs": "", "b.cjs": "" })).toBe("b.cjs");
  const { "lib/c.mjs": _c, ...without } = FILES;
  expect(difference(FILES, without)).toBe("lib/c.mjs");
  expect(difference(without, FILES)).toBe("lib/c.mjs");
  expect(difference(without, without)).toBeUndefined();
  const { "d.js": _d, ...withoutD } = FILES;
  expect(difference(FILES, withoutD)).toBe("d");
});

test("without hashes of imports the module alone is compared; without any, nothing is there to differ", () => {
  const root = folder({ ...FILES, "lib/a.mjs": "other" });
  const { codeHash } = moduleCode(join(folder(FILES), "main.mjs"))!;
  expect(firstDifference(join(root, "main.mjs"), { codeHash })).toBeUndefined();
  expect(moduleCode(join(root, "nothing.mjs"))).toBeUndefined();
  expect(moduleCode(root)).toBeUndefined();
  expect(fileHash(join(root, "README.md"))).toMatch(/^[0-9a-f]{64}$/);
  expect(fileHash(join(root, "nothing"))).toBeUndefined();
});

test("imports of a module that is a link are relative to the file itself, as Node takes them", () => {
  const root = folder({ "real/main.mjs": `import "./a.mjs";`, "real/a.mjs": "", "link/a.mjs": "another one" });
  symlinkSync("../real/main.mjs", join(root, "link/main.mjs"));
  expect(moduleCode(join(root, "link/main.mjs"))).toEqual(moduleCode(join(root, "real/main.mjs")));
});

test("a file is read again when its size or its time has changed, not otherwise", () => {
  const root = folder({ "main.mjs": `import "./a.mjs";`, "a.mjs": "1" });
  const main = join(root, "main.mjs");
  const age = (seconds: number): void => utimesSync(join(root, "a.mjs"), 1_000_000_000, 1_000_000_000 + seconds);
  age(0);
  const first = moduleCode(main)!;
  writeFileSync(join(root, "a.mjs"), "2");
  age(0);
  expect(moduleCode(main)).toEqual(first); // from memory
  age(1);
  expect(moduleCode(main)).not.toEqual(first);
  // One that has just been written is not remembered: it may be written once more within the same tick of the file system.
  const now = new Date();
  for (const [content, same] of [
    ["3", false],
    ["1", true],
  ] as const) {
    writeFileSync(join(root, "a.mjs"), content);
    utimesSync(join(root, "a.mjs"), now, now);
    expect(JSON.stringify(moduleCode(main)) === JSON.stringify(first)).toBe(same);
  }
});

test(`B19: at most ${CODE_FILES_LIMIT} files and ${CODE_BYTES_LIMIT} bytes of imports are read: behind that files are not compared, or by their size`, () => {
  const chain = (last: string): Record<string, string> => ({
    "main.mjs": `import "./0.mjs";`,
    ...Object.fromEntries(Array.from({ length: CODE_FILES_LIMIT }, (_, i) => [`${i}.mjs`, `import "./${i + 1}.mjs";`])),
    [`${CODE_FILES_LIMIT - 2}.mjs`]: `import "./${CODE_FILES_LIMIT - 1}.mjs";`,
    [`${CODE_FILES_LIMIT - 1}.mjs`]: last,
  });
  expect(moduleCode(join(folder(chain("")), "main.mjs"))?.importHashes).toHaveLength(CODE_FILES_LIMIT - 1);
  expect(difference(chain("a"), chain("b"))).toBeUndefined();
  expect(difference(chain("a"), { ...chain("a"), [`${CODE_FILES_LIMIT - 2}.mjs`]: "" })).toBe(
    `${CODE_FILES_LIMIT - 2}.mjs`,
  );
  const large = (last: string): Record<string, string> => ({
    "main.mjs": `import "./large.json"; import "./more.mjs";`,
    "large.json": " ".repeat(CODE_BYTES_LIMIT),
    "more.mjs": last,
  });
  expect(difference(large("a"), large("b"))).toBeUndefined();
  expect(difference(large("a"), large("bb"))).toBe("more.mjs");
});
