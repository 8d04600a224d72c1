import { fileURLToPath, pathToFileURL } from "node:url";
import { WhiprayError } from "@whipray/core";
import { type ModuleCode, moduleCode, originalPath, workerContext } from "@whipray/worker";

/** What nodes compare with theirs before they load a module (design.md, mechanism 14). @throws WhiprayError `MODULE_NOT_FOUND`. */
export function codeOf(url: URL): ModuleCode {
  const path = fileURLToPath(url);
  const code = moduleCode(path);
  if (code) return code;
  throw new WhiprayError({ code: "MODULE_NOT_FOUND", message: `Module ${path} does not exist, or cannot be read` });
}

/** A module as other nodes know it: one in the copy of a working directory is named by where it came from. */
export function originalUrl(url: URL): string {
  const copy = workerContext()?.workingCopy;
  const original = copy && originalPath(copy, fileURLToPath(url));
  return original === undefined ? url.href : pathToFileURL(original).href;
}
