import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { SpillFolder } from "../src/index.ts";

function folder(): string {
  const root = mkdtempSync(join(tmpdir(), "wr-spill-"));
  onTestFinished(() => rmSync(root, { recursive: true, force: true }));
  return join(root, "spill");
}

async function* chunks(...all: string[]): AsyncIterable<Uint8Array> {
  for (const text of all) yield Buffer.from(text);
}

async function readAll(files: SpillFolder, object: string): Promise<string> {
  let text = "";
  for await (const chunk of files.read(object, 3)) text += Buffer.from(chunk).toString();
  return text;
}

test("what is spilled comes back; files are private; nothing is made before, nothing left after", async () => {
  const root = folder();
  const files = new SpillFolder(root, { name: "c1-n1", pid: 12, startTime: 34 }, () => true);
  await files.erase("obj_none");
  expect(existsSync(root)).toBe(false);
  await files.write("obj_a", chunks("hello ", "", "world"));
  expect(await readAll(files, "obj_a")).toBe("hello world");
  expect(statSync(join(root, "c1-n1-12-34", "obj_a")).mode & 0o777).toBe(0o600);
  await expect(files.write("obj_a", chunks("again"))).rejects.toThrow(/EEXIST/);
  await files.erase("obj_a");
  await expect(readAll(files, "obj_a")).rejects.toThrow(/ENOENT/);
  await files.close();
  expect(readdirSync(root)).toEqual([]);
});

test("folders of dead stores are removed when the first object is spilled, those of living ones stay", async () => {
  const root = folder();
  for (const name of ["c1-n1-10-1", "c1-n1-11-1", "something-else"]) mkdirSync(join(root, name), { recursive: true });
  const files = new SpillFolder(root, { name: "c1-n2", pid: 12, startTime: 1 }, (pid) => pid !== 10);
  await files.write("obj_a", chunks("x"));
  expect(readdirSync(root).sort()).toEqual(["c1-n1-11-1", "c1-n2-12-1", "something-else"]);
});
