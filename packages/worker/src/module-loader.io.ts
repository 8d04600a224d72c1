import { fileURLToPath, pathToFileURL } from "node:url";
import { WhiprayError } from "@whipray/core";
import type { WorkingCopy } from "@whipray/rpc";
import type { ActorClass, ActorMethod } from "./actor-methods.ts";
import { type CodeFile, type ForeignCode, firstDifference } from "./module-code.io.ts";
import { copiedPath } from "./working-copy.ts";

/** What is to be loaded: an export of a module file. With its code, as the process has it that asked for it, this is compared first. */
export interface Exported extends ForeignCode {
  readonly module: string;
  readonly exportName: string;
}

/** The actor's class. @throws WhiprayError as `load`, and `NOT_A_CLASS`. */
export async function loadActorClass(
  exported: Exported,
  nodeId: string,
  copy?: WorkingCopy | undefined,
): Promise<ActorClass> {
  const { found, where } = await load(exported, nodeId, copy);
  if (typeof found !== "function" || !found.prototype) {
    throw new WhiprayError({ code: "NOT_A_CLASS", message: where("a class") });
  }
  return found as unknown as ActorClass;
}

/** The function of a task. @throws WhiprayError as `load`, and `NOT_A_FUNCTION`. */
export async function loadFunction(
  exported: Exported,
  nodeId: string,
  copy?: WorkingCopy | undefined,
): Promise<ActorMethod> {
  const { found, where } = await load(exported, nodeId, copy);
  if (typeof found !== "function") throw new WhiprayError({ code: "NOT_A_FUNCTION", message: where("a function") });
  return found as ActorMethod;
}

/**
 * An export from its module file, or from that file in the copy of the working directory. @throws WhiprayError `CODE_MISMATCH` when this
 * file, or one that it imports by a relative path, is missing or differs from the one of the process that asked for it, in the copy too where
 * there is one (design.md, mechanism 14); `IMPORT_FAILED`.
 */
async function load(
  exported: Exported,
  nodeId: string,
  copy: WorkingCopy | undefined,
): Promise<{ found: unknown; where: (what: string) => string }> {
  const url = pathToFileURL(placeOf(exported, nodeId, copy));
  let module: Record<string, unknown>;
  try {
    module = (await import(url.href)) as Record<string, unknown>;
  } catch (cause) {
    throw new WhiprayError({
      code: "IMPORT_FAILED",
      message: `${url.pathname} could not be imported: ${String(cause)}`,
      cause,
    });
  }
  const { exportName } = exported;
  return {
    found: Object.hasOwn(module, exportName) ? module[exportName] : undefined,
    where: (what) =>
      `${url.pathname} does not export ${what} ${exportName}; it exports ${Object.keys(module).join(", ")}`,
  };
}

/** The file that is what the caller has: the one of its path on this node, else the one in the copy. */
function placeOf(exported: Exported, nodeId: string, copy: WorkingCopy | undefined): string {
  const module = fileURLToPath(exported.module);
  if (exported.codeHash === undefined) return module;
  const different = firstDifference(module, exported);
  if (!different) return module;
  const copied = copy && copiedPath(copy, module);
  if (copied === undefined)
    throw mismatch(module, different, nodeId, "put the same code there, or ship it as `runtimeEnv.workingDir`");
  const missing = firstDifference(copied, exported);
  if (missing)
    throw mismatch(copied, missing, nodeId, "it was changed after its directory was packed, or lies outside of it");
  return copied;
}

function mismatch(module: string, { path, hash }: CodeFile, nodeId: string, advice: string): WhiprayError {
  const imported = path === module ? "" : `, which ${module} imports,`;
  return new WhiprayError({
    code: "CODE_MISMATCH",
    message: `${path}${imported} ${hash ? "differs on" : "does not exist on"} ${nodeId}: ${advice}`,
    details: { node: nodeId, path },
  });
}
