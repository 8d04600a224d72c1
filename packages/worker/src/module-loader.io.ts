import { fileURLToPath } from "node:url";
import { WhiprayError } from "@whipray/core";
import type { ActorClass, ActorMethod } from "./actor-methods.ts";
import { type ForeignCode, firstDifference } from "./module-code.io.ts";

/** What is to be loaded: an export of a module file. With its code, as the process has it that asked for it, this is compared first. */
export interface Exported extends ForeignCode {
  readonly module: string;
  readonly exportName: string;
}

/** The actor's class. @throws WhiprayError as `load`, and `NOT_A_CLASS`. */
export async function loadActorClass(exported: Exported, nodeId: string): Promise<ActorClass> {
  const { found, where } = await load(exported, nodeId);
  if (typeof found !== "function" || !found.prototype) {
    throw new WhiprayError({ code: "NOT_A_CLASS", message: where("a class") });
  }
  return found as unknown as ActorClass;
}

/** The function of a task. @throws WhiprayError as `load`, and `NOT_A_FUNCTION`. */
export async function loadFunction(exported: Exported, nodeId: string): Promise<ActorMethod> {
  const { found, where } = await load(exported, nodeId);
  if (typeof found !== "function") throw new WhiprayError({ code: "NOT_A_FUNCTION", message: where("a function") });
  return found as ActorMethod;
}

/**
 * An export from its module file. @throws WhiprayError `CODE_MISMATCH` when this file, or one that it imports by a relative path, is
 * missing or differs from the one of the process that asked for it (design.md, mechanism 14); `IMPORT_FAILED`.
 */
async function load(exported: Exported, nodeId: string): Promise<{ found: unknown; where: (what: string) => string }> {
  const url = new URL(exported.module);
  if (exported.codeHash !== undefined) checkCode(fileURLToPath(url), exported, nodeId);
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

function checkCode(module: string, there: Exported, nodeId: string): void {
  const different = firstDifference(module, there);
  if (!different) return;
  const { path, hash } = different;
  const imported = path === module ? "" : `, which ${module} imports,`;
  throw new WhiprayError({
    code: "CODE_MISMATCH",
    message: `${path}${imported} ${hash ? "differs on" : "does not exist on"} ${nodeId}: put the same code there`,
    details: { node: nodeId, path },
  });
}
