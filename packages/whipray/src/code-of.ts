import { fileURLToPath } from "node:url";
import { WhiprayError } from "@whipray/core";
import { type ModuleCode, moduleCode } from "@whipray/worker";

/** What nodes compare with theirs before they load a module (design.md, mechanism 14). @throws WhiprayError `MODULE_NOT_FOUND`. */
export function codeOf(url: URL): ModuleCode {
  const path = fileURLToPath(url);
  const code = moduleCode(path);
  if (code) return code;
  throw new WhiprayError({ code: "MODULE_NOT_FOUND", message: `Module ${path} does not exist, or cannot be read` });
}
