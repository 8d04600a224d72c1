import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const MAIN = fileURLToPath(new URL("../eight-gpus.ts", import.meta.url));

test("two instances of four GPUs, then eight ranks with 0.9 and 0.01: what each process sees is printed", async () => {
  const home = mkdtempSync(join(tmpdir(), "we-"));
  try {
    const env = { PATH: process.env["PATH"]!, HOME: home };
    const said = await new Promise<string>((resolve, reject) => {
      execFile(process.execPath, [MAIN], { env }, (error, stdout) => (error ? reject(error) : resolve(stdout)));
    });
    const seen = [...said.matchAll(/CUDA_VISIBLE_DEVICES="([^"]*)"/g)].map(([, devices]) => devices);
    const pairs = [0, 1, 2, 3, 4, 5, 6, 7].flatMap((index) => [`${index}`, `${index}`]);
    expect(seen).toEqual(["0,1,2,3", "4,5,6,7", ...pairs, ""]);
    expect(new Set(said.match(/pid \d+/g)).size).toBe(seen.length);
    expect(said).toContain("with all devices in one link domain");
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}, 60_000);
