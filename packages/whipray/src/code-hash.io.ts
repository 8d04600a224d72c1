import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { WhiprayError } from "@whipray/core";

/** SHA-256 of a module file: nodes compare it with theirs. @throws WhiprayError `MODULE_NOT_FOUND`. */
export async function codeHash(url: URL): Promise<string> {
  try {
    return createHash("sha256")
      .update(await readFile(url))
      .digest("hex");
  } catch (cause) {
    throw new WhiprayError({
      code: "MODULE_NOT_FOUND",
      message: `Module ${url.pathname} cannot be read`,
      cause,
    });
  }
}
