import { rm } from "node:fs/promises";
import type { Secrets } from "./engine-service.ts";
import { writeSecret } from "./runtime-directory.io.ts";
import type { RuntimeDirectory } from "./runtime-directory.ts";

/** Secrets as files, mode 0600, in the runtime directory. */
export function secretFiles(directory: RuntimeDirectory): Secrets {
  return {
    async write(name, text) {
      const path = directory.secret(name);
      await writeSecret(path, text);
      return path;
    },
    remove: (name) => rm(directory.secret(name), { force: true }),
  };
}
