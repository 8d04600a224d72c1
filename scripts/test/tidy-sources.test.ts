import { describe, expect, test } from "vitest";
import { banned } from "../tidy/banned.ts";
import { BANS } from "../tidy/bans.ts";
import { exceptions } from "../tidy/exceptions.ts";
import { lines } from "../tidy/lines.ts";
import { machinePaths } from "../tidy/machine-paths.ts";
import { markers } from "../tidy/markers.ts";
import { skippedTests } from "../tidy/skipped-tests.ts";
import { findings, places } from "./planted-tree.ts";

describe("lines", () => {
  test("400 lines pass, 401 do not, data may be longer", () => {
    const text = (count: number): string => "x\n".repeat(count);
    const files = { "packages/core/src/a.ts": text(400), "scripts/b.py": text(401), "examples/1/data/c.ts": text(999) };
    expect(places(findings(lines, files))).toEqual(["scripts/b.py"]);
  });
});

describe("banned", () => {
  const plant = (text: string, path = "packages/core/src/x.ts"): string[] => places(findings(banned, { [path]: text }));

  test.each([
    "Date.now()",
    "performance.now()",
    "new Date()",
    "setTimeout(f, 1)",
    "globalThis.setInterval(f, 1)",
    "Math.random()",
    "process.env.HOME",
    "process.exit(1)",
    "process.kill(1)",
    'process.on("x", f)',
    "const { env } = process;",
    'import fs from "node:fs";',
    'import { readFile } from "fs/promises";',
    'await import("node:net");',
    'import { spawn } from "node:child_process";',
    'import http from "node:http";',
    'import { WebSocket } from "ws";',
    'import pty from "node-pty";',
    'import si from "systeminformation";',
    'import { nanoid } from "nanoid";',
    'import { DatabaseSync } from "node:sqlite";',
  ])("%s is found", (text) => {
    expect(plant(`\n${text}`)).toEqual(["packages/core/src/x.ts:2"]);
  });

  test.each([
    "clock.setTimeout(f)",
    "new Date(ms)",
    "// Date.now()",
    '"process.exit"',
    'import type { Socket } from "node:net";',
    "this.process.kill()",
    'import { join } from "node:path";',
  ])("%s is fine", (text) => {
    expect(plant(text)).toEqual([]);
  });

  test("a listed file may, and only what it is listed for", () => {
    const files = { "packages/core/src/clock.ts": "Date.now();\nMath.random();" };
    const rules = { banned: { clock: [{ files: "packages/*/src/**/clock.ts", reason: "the clock" }] } };
    expect(places(findings(banned, files, rules))).toEqual(["packages/core/src/clock.ts:2"]);
  });

  test("tests and scripts may", () => {
    expect(plant("Date.now()", "packages/core/test/x.test.ts")).toEqual([]);
    expect(plant("Date.now()", "scripts/x.ts")).toEqual([]);
  });

  test("every ban bans something and says what to use instead", () => {
    for (const { call, modules, instead } of BANS) expect([call ?? modules, instead]).not.toContain(undefined);
  });
});

describe("exceptions", () => {
  test("one without a reason, for no ban, or for no file is found", () => {
    const rules = {
      banned: { clock: [{ files: "packages/core/src/gone.ts", reason: "" }], luck: [] },
    };
    const messages = findings(exceptions, { "packages/core/src/x.ts": "" }, rules).map(({ message }) => message);
    expect(messages).toEqual([
      "banned.luck: no such ban in scripts/tidy/bans.ts",
      "banned.clock: packages/core/src/gone.ts has no reason",
      "banned.clock: packages/core/src/gone.ts matches no file; remove it",
    ]);
  });
});

describe("markers", () => {
  test("a wish without an owner is found in comments of TypeScript and Python", () => {
    const wish = "TO" + "DO";
    const files = { "a.ts": `x; // ${wish} later\n"${wish}";\n// ${wish}(ann): x`, "b.py": `x = 1  # ${wish}: y\n` };
    expect(places(findings(markers, files))).toEqual(["a.ts:1", "b.py:1"]);
  });
});

describe("skipped tests", () => {
  test("only, skip and todo are found, conditions are not", () => {
    const text =
      'test.only("a");\ndescribe.skip("b");\ntest.concurrent.todo("c");\ntest.skipIf(x)("d");\nit("skip.only");';
    const python = "@pytest.mark.skip\n@pytest.mark.skipif(x)\n@pytest.mark.xfail\n";
    const found = findings(skippedTests, { "packages/core/test/x.test.ts": text, "p/tests/test_x.py": python });
    expect(places(found)).toEqual([
      "packages/core/test/x.test.ts:1",
      "packages/core/test/x.test.ts:2",
      "packages/core/test/x.test.ts:3",
      "p/tests/test_x.py:1",
      "p/tests/test_x.py:3",
    ]);
  });
});

describe("machine paths", () => {
  test("a path of this machine is found, an address or a relative path is not", () => {
    const files = { "README.md": "see /srv/build/x\nhttps://a.b/srv/build/x\n./srv/build/x\n~/srv/build/x" };
    expect(places(findings(machinePaths, files))).toEqual(["README.md:1"]);
  });
});
