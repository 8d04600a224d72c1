import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { WhiprayError } from "@whipray/core";
import type { ActorSpec } from "@whipray/rpc";
import type { ActorClass } from "./actor-methods.ts";

/**
 * The actor's class from its module file. @throws WhiprayError `CODE_MISMATCH` when the file is missing or differs from the
 * one of the process that created the actor (design.md, mechanism 14), `IMPORT_FAILED`, `NOT_A_CLASS`.
 */
export async function loadActorClass(spec: ActorSpec, nodeId: string): Promise<ActorClass> {
  const url = new URL(spec.module);
  if (spec.codeHash !== undefined) {
    const found = await readFile(url).then(
      (bytes) => createHash("sha256").update(bytes).digest("hex"),
      () => undefined,
    );
    if (found !== spec.codeHash) {
      throw new WhiprayError({
        code: "CODE_MISMATCH",
        message: `${url.pathname} ${found ? "differs on" : "does not exist on"} ${nodeId}: put the same code there`,
        details: { node: nodeId, path: url.pathname },
      });
    }
  }
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
  const cls = Object.hasOwn(module, spec.exportName) ? module[spec.exportName] : undefined;
  if (typeof cls !== "function" || !cls.prototype) {
    throw new WhiprayError({
      code: "NOT_A_CLASS",
      message: `${url.pathname} does not export a class ${spec.exportName}; it exports ${Object.keys(module).join(", ")}`,
    });
  }
  return cls as unknown as ActorClass;
}
