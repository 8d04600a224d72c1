import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { UNPACKED_LIMIT_BYTES } from "@whipray/rpc";
import { describe, expect, onTestFinished, test } from "vitest";
import { packRules } from "../src/pack-rules.ts";
import { directoryMembers, moduleMembers } from "../src/packed-files.io.ts";

function folder(files: readonly string[]): string {
  const root = mkdtempSync(join(tmpdir(), "wp-"));
  onTestFinished(() => rmSync(root, { recursive: true }));
  for (const file of files) {
    mkdirSync(dirname(join(root, file)), { recursive: true });
    writeFileSync(join(root, file), file);
  }
  return root;
}

const pathsOf = async (root: string, excludes: readonly string[] = []) =>
  (await directoryMembers(root, packRules(excludes))).map(({ path }) => path).sort();

describe("what is packed", () => {
  test("all files but what every node has of its own, and what `excludes` names", async () => {
    const root = folder([
      "a.mjs",
      "lib/b.mjs",
      "node_modules/x/i.js",
      ".git/HEAD",
      "lib/__pycache__/b.pyc",
      "run.log",
      "lib/c.log",
    ]);
    expect(await pathsOf(root)).toEqual(["a.mjs", "lib/b.mjs", "lib/c.log", "run.log"]);
    expect(await pathsOf(root, ["*.log"])).toEqual(["a.mjs", "lib/b.mjs"]);
    expect(await pathsOf(root, ["/run.log"])).toEqual(["a.mjs", "lib/b.mjs", "lib/c.log"]);
    expect(await pathsOf(root, ["/c.log", "a.*"])).toEqual(["lib/b.mjs", "lib/c.log", "run.log"]);
    expect(await pathsOf(root, ["lib"])).toEqual(["a.mjs", "run.log"]);
    expect(await pathsOf(root, ["lib/**"])).toEqual(["a.mjs", "run.log"]);
  });

  test("patterns are texts of few wildcards", () => {
    for (const bad of ["", "x".repeat(257), "*a*b*c*d*e", 7 as never]) {
      expect(() => packRules([bad])).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
    }
    const rule = packRules(["a.b", "x/*.c"]);
    expect([rule("a.b"), rule("d/a.b"), rule("aXb"), rule("x/y.c"), rule("z/x/y.c"), rule("x/y/z.c")]).toEqual([
      true,
      true,
      false,
      true,
      false,
      false,
    ]);
  });

  test("a link to a file inside travels as that file; executables stay executable", async () => {
    const root = folder(["a", "run.sh"]);
    chmodSync(join(root, "run.sh"), 0o755);
    symlinkSync("a", join(root, "link"));
    const members = await directoryMembers(root, () => false);
    const link = members.find(({ path }) => path === "link")!;
    expect(Buffer.from(link.content).toString()).toBe("a");
    expect(members.filter(({ executable }) => executable).map(({ path }) => path)).toEqual(["run.sh"]);
  });

  test("B28: missing, no directory, links out, links to nothing and to folders, backslashes are INVALID_PATH naming them", async () => {
    const invalid = (path: string) => ({ code: "INVALID_PATH", message: expect.stringContaining(path) });
    await expect(pathsOf("/does/not/exist")).rejects.toMatchObject(invalid("/does/not/exist"));
    const root = folder(["file", "d/inside"]);
    await expect(pathsOf(join(root, "file"))).rejects.toMatchObject(invalid("file"));
    for (const [name, target] of [
      ["out", "/etc/hostname"],
      ["up", "../.."],
      ["nothing", "gone"],
      ["folder", "d"],
    ] as const) {
      symlinkSync(target, join(root, name));
      await expect(pathsOf(root)).rejects.toMatchObject(invalid(name));
      expect(await pathsOf(root, [name])).toEqual(["d/inside", "file"]);
      rmSync(join(root, name));
    }
    writeFileSync(join(root, "a\\b"), "");
    await expect(pathsOf(root)).rejects.toMatchObject(invalid("backslash"));
  });

  test("a directory above the limit is refused before it is read", async () => {
    const root = folder(["big"]);
    truncateSync(join(root, "big"), UNPACKED_LIMIT_BYTES + 1);
    await expect(pathsOf(root)).rejects.toMatchObject({ code: "PACKAGE_TOO_LARGE" });
  });

  test("Ray: a Python module is a directory under its own name, or one file", async () => {
    const root = folder(["greeting/__init__.py", "greeting/words/a.py", "one.py", "two.txt"]);
    const paths = async (name: string) =>
      (await moduleMembers(join(root, name), () => false)).map(({ path }) => path).sort();
    expect(await paths("greeting")).toEqual(["greeting/__init__.py", "greeting/words/a.py"]);
    expect(await paths("one.py")).toEqual(["one.py"]);
    await expect(paths("two.txt")).rejects.toMatchObject({ code: "INVALID_PATH" });
    await expect(paths("none")).rejects.toMatchObject({ code: "INVALID_PATH" });
  });
});
