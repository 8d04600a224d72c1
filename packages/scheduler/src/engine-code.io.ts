import { existsSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import { fileHash } from "@whipray/worker";

/** The file of an engine's module as this process has it. */
export interface EngineCode {
  readonly path: string;
  /** SHA-256 (hex). */
  readonly hash: string;
}

/**
 * Looks for `module.Class` or `module:Class` where the engine's interpreter will look first: in the PYTHONPATH that the job gives it, then
 * in its working directory if the job says which. Undefined when it is not there: nothing is compared then.
 */
export function engineCode(
  engine: string,
  { pythonPath = "", cwd }: { pythonPath?: string | undefined; cwd?: string | undefined },
): EngineCode | undefined {
  const module = engine.includes(":") ? engine.slice(0, engine.indexOf(":")) : engine.slice(0, engine.lastIndexOf("."));
  const names = module.split(".");
  if (names.some((name) => name === "" || name.includes("/") || name.includes("\0"))) return undefined;
  for (const folder of [...pythonPath.split(":"), cwd ?? ""]) {
    if (!isAbsolute(folder)) continue; // relative to a directory of the engine's
    const path = [join(folder, ...names, "__init__.py"), `${join(folder, ...names)}.py`].find(existsSync);
    const hash = path === undefined ? undefined : fileHash(path);
    if (path !== undefined && hash !== undefined) return { path, hash };
    // The interpreter takes the first package of that name, and looks nowhere else for what is in it.
    const first = join(folder, names[0]!);
    if (existsSync(join(first, "__init__.py")) || existsSync(`${first}.py`)) return undefined;
  }
  return undefined;
}
