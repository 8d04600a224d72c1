import { describe, expect, test } from "vitest";
import { dependencies } from "../tidy/dependencies.ts";
import { packageTables } from "../tidy/package-tables.ts";
import { promises } from "../tidy/promises.ts";
import { findings } from "./planted-tree.ts";

describe("package tables", () => {
  const table = (...names: string[]): string =>
    `# x\n\n## Packages\n\n| package | what |\n|---|---|\n${names.map((name) => `| [\`${name}\`](packages/${name}) | y |`).join("\n")}\n\n## Next\n| \`z\` |`;

  test("a lost and a dead row are found in both documents", () => {
    const files = {
      "packages/core/src/index.ts": "",
      "packages/head/src/index.ts": "",
      "README.md": table("core", "head"),
      "ARCHITECTURE.md": table("core", "tail"),
    };
    expect(findings(packageTables, files)).toEqual([
      { file: "ARCHITECTURE.md", message: 'the table under "## Packages" lacks packages/head' },
      { file: "ARCHITECTURE.md", message: '"## Packages" names packages/tail, which does not exist' },
    ]);
  });

  test("a missing document is found", () => {
    expect(findings(packageTables, {}).map(({ file }) => file)).toEqual(["README.md", "ARCHITECTURE.md"]);
  });
});

describe("dependencies", () => {
  test("one that ARCHITECTURE.md does not name is found", () => {
    const files = {
      "package.json": '{ "devDependencies": { "vitest": "1", "left-pad": "1" } }',
      "packages/core/package.json": '{ "dependencies": { "@x/head": "workspace:*", "ws": "catalog:" } }',
      "ARCHITECTURE.md": "`vitest` runs tests, ws does not count without backticks",
    };
    const found = findings(dependencies, files).map(({ file, message }) => `${file} ${message.split(" ")[0]}`);
    expect(found).toEqual(["package.json left-pad", "packages/core/package.json ws"]);
  });
});

describe("promises", () => {
  const proof = "packages/core/test/x.test.ts";
  const rows = (changes: Record<string, string> = {}): string =>
    [..."1234567"]
      .map((n) => `D${n}`)
      .concat(Array.from({ length: 20 }, (_, n) => `P${n + 1}`))
      .map((id) => `| ${id} | promise | ${changes[id] ?? "not yet"} |`)
      .join("\n");
  const messages = (changes: Record<string, string>): string[] =>
    findings(promises, {
      "docs/promises.md": rows(changes),
      [proof]: 'describe("a group", () => { test("it\\"s kept", f); test(`with ${x}`, f); });',
      "packages/engine/python/tests/test_y.py": "class TestHost:\n    def test_z(self):\n        pass\n",
    }).map(({ message }) => message);

  test("named tests that exist are fine, in TypeScript and in Python", () => {
    expect(messages({})).toEqual([]);
    expect(messages({ P1: `\`${proof} › it"s kept\``, D2: `\`${proof} › a group › it"s kept\`` })).toEqual([]);
    expect(messages({ P2: "`packages/engine/python/tests/test_y.py › TestHost › test_z`" })).toEqual([]);
    expect(messages({ P3: `\`${proof} › with \${x}\`` })).toEqual([]);
    expect(messages({ P3: `\`${proof} › without \${x}\`` })).toHaveLength(1);
  });

  test("a named file or test that does not exist is found", () => {
    expect(messages({ P1: "`packages/core/test/gone.test.ts › a`" })).toEqual([
      "P1: packages/core/test/gone.test.ts does not exist",
    ]);
    expect(messages({ P2: `\`${proof} › it\`` })).toEqual([`P2: ${proof} has no test "it"`]);
    expect(messages({ D7: "`packages/engine/python/tests/test_y.py › test_`" })).toHaveLength(1);
  });

  test("a promise without a row, with two, or with neither a test nor 'not yet' is found", () => {
    expect(messages({ P20: "proved by hand" })).toEqual(['P20: names no test; write "not yet" or `file › test name`']);
    const twice = findings(promises, { "docs/promises.md": `${rows()}\n| P3 | x | not yet |` });
    expect(twice.map(({ message }) => message)).toEqual(["P3: has two rows"]);
    const lost = findings(promises, { "docs/promises.md": rows().replace("| P3 |", "| P0 |") });
    expect(lost.map(({ message }) => message)).toEqual(["P3 has no row"]);
  });
});
