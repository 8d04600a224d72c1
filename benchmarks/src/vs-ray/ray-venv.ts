import { spawn } from "node:child_process";
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** The version that the issue and `spec/ray.md` speak of, and what its microbenchmark needs. */
const PACKAGES = ["ray==2.58.0", "grpcio", "protobuf", "numpy"];

/** Makes the environment once; afterwards gives its Python. @throws Error when pip cannot install Ray. */
export async function rayPython(folder: string, tell: (line: string) => void): Promise<string> {
  const python = join(folder, "bin/python");
  const stamp = join(folder, ".whipray-stamp");
  if (existsSync(stamp)) return python;
  tell(`making ${folder} with ${PACKAGES.join(" ")} (some minutes, once) …`);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  await run("python3", ["-m", "venv", folder]);
  await run(python, ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", ...PACKAGES]);
  writeFileSync(stamp, PACKAGES.join(" "));
  return python;
}

async function run(file: string, args: readonly string[]): Promise<void> {
  const child = spawn(file, args, { stdio: ["ignore", "ignore", "inherit"] });
  const code = await new Promise((resolve, reject) => child.once("error", reject).once("close", resolve));
  if (code !== 0) throw new Error(`${file} ${args.join(" ")} ended with ${code}`);
}
